#!/bin/sh
# Says so in one sentence if a Python lacks the headers that compiled packages need.
# usage: check_headers.sh PYTHON
"$1" -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || {
    echo "error: $("$1" -V) has no C headers, and Aura's python-tlsh is compiled at install; run: sudo apt-get install python3.11-dev" >&2
    exit 1
}
