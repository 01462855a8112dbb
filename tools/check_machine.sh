#!/bin/sh
# Says, in one sentence each, what this machine lacks that no Python package can bring, and how to install it.
# Runs before anything else; prints nothing when all is there.
set -u
missing=0
say() { echo "error: $1" >&2; missing=1; }

command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 ||
    say "no C++ compiler was found, and Aura's python-tlsh is compiled at install; run: sudo apt-get install g++ (macOS: xcode-select --install)"

"${PYTHON:-python3}" -c 'import venv, ensurepip' 2>/dev/null ||
    say "${PYTHON:-python3} cannot make virtual environments; run: sudo apt-get install python3 python3-venv"

"${PYTHON:-python3}" -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("magic"))' 2>/dev/null ||
    say "the libmagic library was not found, and Aura tells file types with it; run: sudo apt-get install libmagic1 (macOS: brew install libmagic)"

exit $missing
