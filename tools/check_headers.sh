#!/bin/sh
# Says so in one sentence if the Python 3.11 that the scanner environment will be made of lacks the headers that
# compiled packages need. Where there is no Python 3.11 yet, uv brings one that has them.
# usage: check_headers.sh UV
uv=${1:?usage: tools/check_headers.sh UV}
python=$("$uv" python find --system --no-project 3.11 2>/dev/null) || exit 0
"$python" -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || {
    echo "error: $python has no C headers, and Aura's python-tlsh is compiled at install; run: sudo apt-get install python3.11-dev" >&2
    exit 1
}
