"""scan_shard.py with something in it changed: smaller limits, a scanner that is broken."""

import os
import subprocess
from pathlib import Path

from .conftest import SCRIPTS

# As scan_shard.py fixes it before Python starts.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}


def scan_with(python: Path, statements: str, *flags: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run scan_shard.py to its end in a process that executes `statements` first, in which ``scan_shard`` is known."""
    program = f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\nimport program, scan_shard\n{statements}\n"
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return subprocess.run(
        [python, "-c", f"{program}\nprogram.run(scan_shard.main)", *flags, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **_ENVIRONMENT},
    )
