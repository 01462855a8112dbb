#!/bin/sh
# Prints the path of uv: the one on PATH, else one installed from PyPI into the private environment .uv/.
set -eu
if command -v uv >/dev/null 2>&1; then
    command -v uv
    exit
fi
if [ ! -x .uv/bin/uv ]; then
    echo "bootstrap: installing uv into .uv/" >&2
    "${PYTHON:-python3}" -m venv .uv >&2
    .uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9' >&2
fi
echo "$PWD/.uv/bin/uv"
