"""Looks for secrets in whatever a run leaves: files, archives of ours, databases, and what processes show others."""

import base64
import contextlib
import gzip
import io
import os
import sqlite3
import tarfile
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

import zstandard

_ZSTD, _GZIP, _SQLITE = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"SQLite format 3\0"


def secrets_in(content: bytes, secrets: Mapping[str, str]) -> set[str]:
    """Return the names of the secrets that `content` quotes, as they are or in a usual encoding."""
    return {name for name, secret in secrets.items() if any(form in content for form in _forms(secret))}


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield raw
    yield urllib.parse.quote(secret, safe="").encode()
    yield raw.hex().encode()
    for shift in range(3):  # wherever it begins in what is encoded
        yield base64.b64encode(b"\0" * shift + raw)[4:-4]


def leaks_below(root: Path, secrets: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return (path below `root`, secret) of every file that quotes a secret, packed or not, or has it in a table."""
    found = set()
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        for content in _contents(path):
            found |= {(str(path.relative_to(root)), name) for name in secrets_in(content, secrets)}
    return found


def _contents(path: Path) -> Iterator[bytes]:
    yield os.fsencode(path.name)
    content = path.read_bytes()
    yield content
    if content.startswith(_ZSTD):
        content = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
        yield content
    if content.startswith(_GZIP):
        with contextlib.suppress(EOFError, OSError):  # a package may be damaged on purpose
            content = gzip.decompress(content)
            yield content
    if path.name.endswith(".tgz"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            yield from (archive.extractfile(member).read() for member in archive if member.isfile())  # type: ignore[union-attr]
    if content.startswith(_SQLITE) and not path.name.endswith(".zst"):
        yield from _cells(path)


def _cells(database: Path) -> Iterator[bytes]:
    """Yield every value of a database: in the file a long one is in pieces."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table.decode()}"'):
                yield from (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)


class Onlooker(threading.Thread):
    """Another user of this machine: notes every command line there is while it looks on; used as a context manager."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.command_lines: set[bytes] = set()
        self._end = threading.Event()

    def __enter__(self) -> "Onlooker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    self.command_lines.add((process / "cmdline").read_bytes())


def environments(text: str) -> Iterator[dict[str, str]]:
    """Yield the environment of every process of ours that has `text` in it, as {name: value}."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            content = (process / "environ").read_bytes().decode("utf-8", "replace")
            if text in content:
                yield dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)
