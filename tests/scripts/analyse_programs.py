# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what Aura's stages find in programs: analyse_programs.py stock|fast DIRECTORY SCRIPTS

Run by the scanner's Python. Prints a JSON line a file of DIRECTORY: every hit, in order, and the tree it ended with.
"""

import hashlib
import json
import sys
from pathlib import Path

mode, directory, scripts = sys.argv[1:]
sys.path.insert(0, scripts)

import aura_engine  # noqa: E402
from aura.analyzers.detections import Detection  # noqa: E402
from aura.analyzers.python.visitor import Visitor  # noqa: E402
from aura.exceptions import PythonExecutorError  # noqa: E402
from aura.uri_handlers.base import ScanLocation  # noqa: E402


def hits(path: Path) -> list[object]:
    """Return the hits of all stages, then the digest of the last tree."""
    location = ScanLocation(location=path, metadata={"depth": 0, "report_imports": True, "mime": "text/x-python"})
    try:
        stage = Visitor.run_stages(location=location)
    except PythonExecutorError as error:
        return [repr(error)]
    found: list[object] = []
    for hit in stage():
        if isinstance(hit, Detection):
            found.append({**hit._asdict(), "tags": sorted(hit.tags)})
        else:
            found.append([hit.metadata["parent_line"], next(hit.location.iterdir()).read_text(encoding="utf-8")])
    return [*found, hashlib.sha256(repr(stage.tree).encode()).hexdigest()]


kept: list[object] = []


def address(node: object) -> int:
    """Return the address of `node`, which stays its own."""
    kept.append(node)
    return id(node)


# Aura takes a node for one it has seen that lies where that one was: whether it does depends on the memory alone.
Visitor.traverse.__defaults__ = (address,)
aura_engine.prepare(Path(directory), None, stock=mode == "stock")
for path in sorted(Path(directory).glob("*.py")):
    print(json.dumps(hits(path), default=aura_engine.to_json))
    kept.clear()
