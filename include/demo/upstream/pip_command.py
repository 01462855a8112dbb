"""Finds a pip to run: environments made by uv have none."""

import importlib.util
import subprocess
import sys
from pathlib import Path


def pip_command(cache: Path) -> list[str]:
    """Return the command that runs pip: this interpreter's own, or one made from its bundled copy in `cache`.

    Raises subprocess.CalledProcessError where Python comes without ensurepip.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    environment = cache / "pip-environment"
    python = environment / "bin" / "python"
    finished = environment / ".ready"  # a build that was interrupted leaves an environment without pip
    if not finished.exists():
        make = [sys.executable, "-m", "venv", "--clear", str(environment)]
        subprocess.run(make, check=True, capture_output=True, text=True)
        finished.touch()
    return [str(python), "-m", "pip"]
