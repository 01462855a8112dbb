"""JSON as this project writes it: compact, keys sorted, always valid UTF-8; files that appear whole or not at all."""

import json
import os
from collections.abc import Iterable
from pathlib import Path


def clean(text: str) -> str:
    """Return `text` without lone surrogates, which UTF-8 cannot hold; pairs become the character they stand for."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def canonical(value: object) -> str:
    """Return the one JSON text of a plain value (str, int, float, bool, None, lists and dicts of those)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def line(value: object) -> bytes:
    """Return `value` as one line of a JSON lines file."""
    return clean(canonical(value)).encode() + b"\n"


def write_atomic(path: Path, chunks: Iterable[bytes]) -> None:
    """Write `chunks` to `path` so that a reader, also after a crash, sees the old file or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
