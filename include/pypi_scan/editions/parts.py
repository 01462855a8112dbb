"""The parts of the editions that one shard's records become: ``part.sqlite`` and ``part.parquet``."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from pypi_scan.editions.columns import DETECTION_COLUMNS, Column, sql_struct
from pypi_scan.editions.database import duckdb_session, quoted
from pypi_scan.record import Detection, Record, RecordOrigin, fingerprint

SQLITE_PART = "part.sqlite"
PARQUET_PART = "part.parquet"

_PART_SCHEMA = """
    CREATE TABLE scans (id INTEGER PRIMARY KEY, package_name TEXT, version TEXT, metadata TEXT);
    CREATE TABLE detections (
        id INTEGER PRIMARY KEY, scan INTEGER, type INTEGER, signature TEXT, message TEXT, score NUMERIC, extra BLOB,
        severity TEXT, location TEXT, line_no INTEGER, line TEXT
    );
    CREATE TABLE tags (detection INTEGER, tag INTEGER, PRIMARY KEY (detection, tag)) WITHOUT ROWID;
    CREATE TABLE detection_types (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE tag_names (id INTEGER PRIMARY KEY, name TEXT);
"""
_ROWS_A_GROUP = 20_480  # what packing has of a part in memory
_NO_EXTRA = zlib.compress(b"{}")
# Rows are sorted by these; `number` counts the detections of a record. A type's rows lie together: who asks for one
# type reads them alone.
ORDER = "type, package, number"
PART_COLUMNS = (*DETECTION_COLUMNS, Column("number", "integer", "of the detection in its record"))


class _Row(msgspec.Struct):
    """A row of ``part.parquet``."""

    package: str
    version: str
    type: str
    severity: str
    score: int | float
    message: str
    location: str | None
    line_no: int | None
    line: str | None
    signature: str
    fingerprint: str
    tags: list[str]
    extra: str
    number: int


class Parts:
    """Takes the records of a shard, in order; see `writing_parts`."""

    def __init__(self, database: sqlite3.Connection, rows: Path) -> None:
        self._database = database
        self._rows = rows.open("wb")
        self._encoder = msgspec.json.Encoder()
        self._scan = 0
        self._detection = 0
        self._types: dict[str, int] = {}
        self._tags: dict[str, int] = {}
        self.longest_row = 0

    def add(self, record: Record) -> None:
        """Add a record to both parts."""
        name, version = record.pypi.name, record.pypi.version
        self._scan += 1
        self._database.execute(
            "INSERT INTO scans VALUES (?, ?, ?, ?)", (self._scan, name, version, bytes(record.metadata).decode())
        )
        detections: list[tuple[Any, ...]] = []
        tags: set[tuple[int, int]] = set()
        rows = []
        for number, one in enumerate(record.detections):
            self._detection += 1
            extra = self._encoder.encode(one.extra)
            kind = self._types.setdefault(one.type, len(self._types) + 1)
            signature = _short_signature(name, one.signature)
            packed = zlib.compress(extra) if one.extra else _NO_EXTRA
            added = (one.severity, one.location, one.line_no, one.line)
            detections.append((self._detection, self._scan, kind, signature, one.message, one.score, packed, *added))
            tags.update((self._detection, self._tags.setdefault(tag, len(self._tags) + 1)) for tag in one.tags)
            rows.append(self._encoder.encode(_row(record.pypi, one, signature, extra, number)))
        self._database.executemany("INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", detections)
        self._database.executemany("INSERT INTO tags VALUES (?, ?)", tags)
        if rows:
            self.longest_row = max(self.longest_row, *map(len, rows), 0)
            self._rows.write(b"\n".join([*rows, b""]))

    def close(self) -> None:
        """Have everything on disk."""
        for table, names in (("detection_types", self._types), ("tag_names", self._tags)):
            self._database.executemany(f"INSERT INTO {table} (name, id) VALUES (?, ?)", names.items())
        self._database.commit()
        self._rows.close()


@contextmanager
def writing_parts(directory: Path) -> Iterator[Parts]:
    """Yield what takes the records of a shard; writes both parts into `directory` when the block ends."""
    rows = directory / "part.jsonl"
    with closing(sqlite3.connect(directory / SQLITE_PART)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _PART_SCHEMA)
        parts = Parts(database, rows)
        try:
            yield parts
        finally:
            parts.close()
    _to_parquet(rows, directory / PARQUET_PART, parts.longest_row)
    rows.unlink()


def _row(origin: RecordOrigin, one: Detection, signature: str, extra: bytes, number: int) -> _Row:
    return _Row(
        package=origin.name,
        version=origin.version,
        type=one.type,
        severity=one.severity,
        score=one.score,
        message=one.message,
        location=one.location,
        line_no=one.line_no,
        line=one.line,
        signature=signature,
        fingerprint=fingerprint(one),
        tags=one.tags,
        extra=extra.decode(),
        number=number,
    )


def _to_parquet(rows: Path, target: Path, longest_row: int) -> None:
    # DuckDB reads JSON into buffers of several times the longest row, of which nobody knows how long it may be.
    longest = max(2 * longest_row, 1 << 20)
    with duckdb_session(target.parent, more_memory=8 * longest) as database:
        database.execute(
            f"COPY (SELECT * FROM read_json({quoted(rows)}, format = 'newline_delimited', "
            f"maximum_object_size = {longest}, columns = {sql_struct(PART_COLUMNS)}) ORDER BY {ORDER}) "
            f"TO {quoted(target)} "
            f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {_ROWS_A_GROUP})"
        )


def _short_signature(package: str, signature: str) -> str:
    """Return what tells detections of all packages apart, in 16 characters; signatures are mostly paths."""
    return blake2b(f"{package}#{signature}".encode(), digest_size=8).hexdigest()
