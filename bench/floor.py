"""The floor of any scan of Python code: parse every file, and look at every node once.

usage: floor.py DIRECTORY

Prints a JSON object with an entry for every directory in DIRECTORY: how many files it holds, how many of them parse,
their bytes, and the CPU seconds of ``ast.parse`` and one ``ast.walk``. To be run by the scanner's own interpreter.
"""

import ast
import gc
import json
import sys
import time
import warnings
from pathlib import Path


def parse_and_walk(source: bytes) -> bool:
    """Parse `source` and walk over its tree; return whether it is Python code."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for _ in ast.walk(tree):
        pass
    return True


def measure(directory: Path) -> dict[str, float]:
    """Return the figures of the files in `directory`."""
    sources = [path.read_bytes() for path in sorted(directory.iterdir())]
    began = time.process_time()
    parsed = sum(map(parse_and_walk, sources))
    seconds = time.process_time() - began
    return {
        "files": len(sources),
        "parsed": parsed,
        "bytes": sum(map(len, sources)),
        "cpu_seconds": round(seconds, 3),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    gc.freeze()
    print(json.dumps({directory.name: measure(directory) for directory in sorted(Path(sys.argv[1]).iterdir())}))
