#!/bin/sh
# Writes the lock of the control host, the requirements.txt made from it, those of the control image, the fuzzer and the
# worker.
# Versions already pinned stay; remove a line from a lock, or pass --upgrade as UV_LOCK_ARGS, to move on.
# usage: lock.sh UV DIRECTORY
set -eu
uv=${1:?usage: tools/lock.sh UV DIRECTORY}
cd "${2:?usage: tools/lock.sh UV DIRECTORY}"
compile() {
    # shellcheck disable=SC2086
    "$uv" pip compile --quiet --universal --annotation-style line --no-emit-index-url \
        --custom-compile-command "make lock" ${UV_LOCK_ARGS:-} "$@"
}
compile --python-version 3.12 --generate-hashes --all-extras --group dev pyproject.toml -o requirements.lock
compile --python-version 3.12 --constraint requirements.lock pyproject.toml -o requirements.txt
compile --python-version 3.12 --constraint requirements.lock --generate-hashes --extra bigquery --group compose \
    pyproject.toml -o docker/control/requirements.txt
compile --python-version 3.12 --generate-hashes tests/fuzz/requirements.in -o tests/fuzz/requirements.txt
cd include/scripts
compile --python-version 3.11 --generate-hashes requirements.in -o requirements.txt
