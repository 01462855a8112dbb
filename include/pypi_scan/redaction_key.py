"""The key of the hashes that stand for secrets in records; see include/scripts/redaction.py.

It stays the same from scan to scan: with another one the same secret has another hash. Whoever has it can check whether
a guess is right, so it is never published, and readable for its owner alone.
"""

import os
import re
import secrets
import tempfile
from pathlib import Path

REDACTION_KEY = "redaction.key"
_KEY = re.compile(r"[0-9a-f]{64}\n")


class RedactionKeyError(Exception):
    """The key cannot be used. The message says why, and what to do."""


def redaction_key(state_dir: Path) -> Path:
    """Return the file of the key in `state_dir`: 32 random bytes as hexadecimal digits, made when first asked for.

    Raises RedactionKeyError if it is damaged: it is not replaced, as no later hash would be like an earlier one.
    """
    path = state_dir / REDACTION_KEY
    if not path.exists():
        _make(path)
    try:
        whole = _KEY.fullmatch(path.read_text(encoding="ascii"))
    except UnicodeDecodeError:
        whole = None
    if not whole:
        raise RedactionKeyError(
            f"{path} is not 64 hexadecimal digits; restore it from a backup, or remove it and have a new one made: the "
            "same secret then has another hash than in earlier scans"
        )
    return path


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        pass  # another task was faster, and its key is the one
    finally:
        Path(temporary).unlink()
