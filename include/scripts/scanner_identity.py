"""Which scanner this is: all that a record depends on besides its package and the aura_dataset.

The same identity, release and aura_dataset give the same record; so a record can be used again as long as these are.
"""

import argparse
import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonl
from program import ProgramError
from redaction import Key

FILE_BYTES = 1024**3  # of any one file that a child writes, so of a member of an archive; as in aura_config.yaml


@dataclass(frozen=True)
class Settings:
    """What a package may use, `timeout` in seconds and `memory` in MiB, and the key that secrets are redacted with."""

    timeout: float
    cpu_seconds: float
    memory: int
    key: Key | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `read_settings` reads."""
    parser.add_argument("--timeout", type=float, default=900.0, metavar="S", help="seconds a package (default: 900)")
    parser.add_argument("--cpu", type=float, metavar="S", help="CPU seconds a package (default: twice --timeout)")
    parser.add_argument("--memory", type=int, default=4096, metavar="MB", help="MiB a package (default: 4096)")
    parser.add_argument(
        "--redaction-key",
        type=Path,
        metavar="FILE",
        help="64 hexadecimal digits: quote no secrets, only hashes of them made with this key (default: quote them)",
    )


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return what the options say; raises ProgramError if the key is none."""
    # By default more than one thread can use, so that it is the clock which decides, and not a race of the two.
    cpu_seconds: float = 2 * arguments.timeout if arguments.cpu is None else arguments.cpu
    key = Key.read(arguments.redaction_key) if arguments.redaction_key else None
    return Settings(arguments.timeout, cpu_seconds, arguments.memory, key)


def load_engine() -> ModuleType:
    """Load Aura and return aura_engine; raises ProgramError if it cannot be loaded."""
    try:
        import aura_engine
    except Exception as error:
        raise ProgramError(
            f"Aura cannot be loaded ({error!r}); make the scanner environment again from requirements.txt"
        ) from error
    return aura_engine


def identity(engine: ModuleType, settings: Settings) -> dict[str, Any]:
    """Return {"scanner", "version", "python", "settings"} of `engine` used with `settings`."""
    key = settings.key
    return {
        "scanner": "aura-security",
        "version": engine.VERSION,
        "python": platform.python_version(),
        "settings": {
            "timeout": settings.timeout,
            "cpu_seconds": settings.cpu_seconds,
            "memory": settings.memory,
            "file_bytes": FILE_BYTES,
            "unpacked_bytes": engine.MAX_BYTES,
            "unpacked_members": engine.MAX_MEMBERS,
            "libmagic": engine.LIBMAGIC,
            "scripts_sha256": scripts_digest(Path(__file__).resolve().parent),
            **({"secrets": "redacted", "redaction_key_id": key.id} if key else {"secrets": "kept"}),
        },
    }


def scripts_digest(directory: Path) -> str:
    """Return a sha256 of the names and contents of all files in `directory`: the programs and their configuration."""
    files = (path for path in directory.iterdir() if path.is_file())
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return hashlib.sha256(jsonl.line(digests)).hexdigest()
