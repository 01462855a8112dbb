#!/bin/sh
# Fails when a generated file is not what `make lock` or `make docs` would write from its source.
# usage: check_generated.sh UV
set -eu
uv=${1:?usage: tools/check_generated.sh UV}
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
.venv/bin/python tools/reference.py "$work/reference.md"
diff -u docs/reference.md "$work/reference.md" || { echo "error: docs/reference.md is not current; run: make docs" >&2; stale=1; }
exit $stale
