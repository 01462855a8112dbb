"""What a scan has finished, written package by package, so that a killed scan goes on where it was.

A file of JSON lines. The first line says what the scan works on; a journal of something else is not continued. A line
counts once its newline is there: a torn last line, from a crash, is cut off.
"""

import json
import os
from pathlib import Path
from typing import Any

import jsonl


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Journal:
    """The journal at `path` of a scan of `subject` (a plain dict, compared as a whole)."""

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        self._path = path
        self._subject = subject
        self.entries: list[dict[str, Any]] = self._read()

    def start_anew(self) -> None:
        """Forget every entry."""
        self.entries = []
        jsonl.write_atomic(self._path, [jsonl.line(self._subject)])
        sync(self._path.parent)

    def append(self, entry: dict[str, Any]) -> None:
        """Add `entry`; it is on the disk when this returns."""
        if not self._path.exists():
            self.start_anew()
        self.entries.append(entry)
        with self._path.open("ab") as file:
            file.write(jsonl.line(entry))
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        lines: list[dict[str, Any]] = []
        whole = 0
        for line in data.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    break
                lines.append(json.loads(line))
            except ValueError:
                break
            whole += len(line)
        if not lines or lines[0] != self._subject:
            self._path.unlink()
            return []
        os.truncate(self._path, whole)
        return lines[1:]
