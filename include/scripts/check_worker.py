"""Check that this machine can scan: the scanner environment is the pinned one, libmagic loads, there is room.

Prints one JSON line: {"python", "cores", "memory_bytes", "free_bytes", "aura", "isolation"}. `free_bytes` is of the
disk this program lies on, which is where a worker's caches and results go too; `isolation` says in words what the
kernel grants of what scans are to be shut in with.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

import isolation
import program
from program import ProgramError

_PYTHON = (3, 11)  # Aura 2.1 does not run on 3.12
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def pinned(requirements: str) -> dict[str, str]:
    """Return name -> version of a requirements file in which every line pins (``name==version \\``, then hashes)."""
    return {match["name"]: match["version"] for match in _PIN.finditer(requirements)}


def differences(pins: dict[str, str]) -> list[str]:
    """Return, in words, each of `pins` that is not what is installed."""
    found = []
    for name, version in sorted(pins.items()):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} is not installed")
            continue
        if installed != version:
            found.append(f"{name} is {installed} instead of {version}")
    return found


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container if that may use less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return physical


def _check_magic() -> None:
    try:
        import magic

        magic.from_buffer(b"#!/bin/sh\n", mime=True)
    except Exception as error:
        raise ProgramError(f"libmagic cannot be used ({error}); install the system package libmagic1") from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument(
        "--requirements", type=Path, required=True, metavar="FILE", help="the pinned requirements of the scanner"
    )
    parser.add_argument("--min-free-gb", type=float, default=0, metavar="G", help="GiB that must be free (default: 0)")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    if sys.version_info[:2] != _PYTHON:
        raise ProgramError(f"this is Python {platform.python_version()}; the scanner environment needs 3.11")
    pins = pinned(arguments.requirements.read_text(encoding="utf-8"))
    if not pins:
        raise ProgramError(f"{arguments.requirements} pins nothing; ship include/scripts again")
    if wrong := differences(pins):
        raise ProgramError(
            f"the scanner environment is not the pinned one ({'; '.join(wrong)}); make it again from requirements.txt"
        )
    _check_magic()
    free = shutil.disk_usage(Path(__file__).parent).free
    if free < arguments.min_free_gb * 1024**3:
        raise ProgramError(f"{free / 1024**3:.1f} GiB are free, {arguments.min_free_gb:g} are needed; free some space")
    found = {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory_bytes(),
        "free_bytes": free,
        "aura": pins.get("aura-security"),
        "isolation": isolation.describe(isolation.refused()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    program.run(main)
