#!/bin/sh
# Fails when a generated file is not what `make lock` would write from its source.
# usage: check_generated.sh UV
set -eu
uv=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/include/scripts" "$work/tests/fuzz" "$work/docker/control"
generated="requirements.lock requirements.txt docker/control/requirements.txt tests/fuzz/requirements.txt
    include/scripts/requirements.txt"
for file in pyproject.toml tests/fuzz/requirements.in include/scripts/requirements.in $generated; do
    cp "$file" "$work/$file"
done
"$PWD/tools/lock.sh" "$uv" "$work"
stale=0
for file in $generated; do
    diff -u "$file" "$work/$file" || { echo "error: $file is not current; run: make lock" >&2; stale=1; }
done
exit $stale
