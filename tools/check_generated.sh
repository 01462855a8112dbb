#!/bin/sh
# Fails when a generated file is not what `make lock` would write from its source.
# usage: check_generated.sh UV
set -eu
uv=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/include/scripts"
for file in pyproject.toml requirements.lock requirements.txt include/scripts/requirements.in include/scripts/requirements.txt; do
    cp "$file" "$work/$file"
done
"$PWD/tools/lock.sh" "$uv" "$work"
stale=0
for file in requirements.lock requirements.txt include/scripts/requirements.txt; do
    diff -u "$file" "$work/$file" || { echo "error: $file is not current; run: make lock" >&2; stale=1; }
done
exit $stale
