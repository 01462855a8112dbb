"""``dataset.sqlite.zst``: a scan in the tables of Aura's documentation.

``scans``, ``detections``, ``detection_types``, ``tags`` and ``tag_names`` are as documented there, ``extra`` is JSON
packed by zlib, as there; columns are added behind the documented ones: the ``version`` of a scan, and of a detection
``severity``, ``location``, ``line_no`` and the source ``line``.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import zstandard

from pypi_scan.editions.parts import SQLITE_PART

SQLITE = "dataset.sqlite.zst"
_LEVEL = 3
_THREADS = 2  # any number but 0 gives the same bytes

_SCHEMA = """
    CREATE TABLE scans (
        id INTEGER PRIMARY KEY,
        package_name VARCHAR(256) UNIQUE,
        metadata JSON,
        version TEXT
    );
    CREATE TABLE detection_types (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE detections (
        id INTEGER PRIMARY KEY,
        scan INTEGER NOT NULL REFERENCES scans (id),
        type INTEGER NOT NULL REFERENCES detection_types (id),
        signature TEXT,
        message TEXT NOT NULL,
        score INTEGER DEFAULT 0,
        extra BLOB,
        severity TEXT NOT NULL,
        location TEXT,
        line_no INTEGER,
        line TEXT
    );
    CREATE TABLE tag_names (id INTEGER PRIMARY KEY, name VARCHAR(128) UNIQUE);
    CREATE TABLE tags (
        detection INTEGER NOT NULL REFERENCES detections (id),
        tag INTEGER NOT NULL REFERENCES tag_names (id),
        PRIMARY KEY (detection, tag)
    ) WITHOUT ROWID;
"""
_NUMBERS = """
    CREATE TEMP TABLE type_numbers (part INTEGER PRIMARY KEY, whole INTEGER);
    CREATE TEMP TABLE tag_numbers (part INTEGER PRIMARY KEY, whole INTEGER);
"""
_INDEXES = """
    CREATE INDEX detections_of_scan ON detections (scan);
    CREATE INDEX detections_of_type ON detections (type);
"""
# Names have other numbers in each part; the tables of them are small, so that the joins look numbers up.
_MERGE = """
    INSERT INTO scans SELECT id + :scans, package_name, metadata, version FROM part.scans ORDER BY id;
    DELETE FROM type_numbers;
    INSERT INTO type_numbers SELECT part.id, whole.id
        FROM part.detection_types AS part JOIN main.detection_types AS whole USING (name);
    DELETE FROM tag_numbers;
    INSERT INTO tag_numbers SELECT part.id, whole.id
        FROM part.tag_names AS part JOIN main.tag_names AS whole USING (name);
    INSERT INTO detections
        SELECT id + :detections, scan + :scans, whole, signature, message, score, extra, severity, location, line_no,
            line
        FROM part.detections CROSS JOIN type_numbers ON part = type ORDER BY id;
    INSERT INTO tags
        SELECT detection + :detections, whole
        FROM part.tags CROSS JOIN tag_numbers ON part = tag ORDER BY detection, tag;
"""


def write_sqlite(parts: Sequence[Path], target: Path) -> None:
    """Merge the parts of all shards, given by their directories, into `target`."""
    plain = target.with_suffix("")
    with closing(sqlite3.connect(plain)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA + _NUMBERS)
        for table in ("detection_types", "tag_names"):
            names = sorted({name for directory in parts for name in _names(directory, table)})
            database.executemany(f"INSERT INTO {table} (name) VALUES (?)", ((name,) for name in names))
            database.commit()
        for directory in parts:
            with _attached(database, directory):
                before = {table: _last_id(database, table) for table in ("scans", "detections")}
                for statement in filter(str.strip, _MERGE.split(";")):
                    database.execute(statement, before)
                database.commit()
        database.executescript(_INDEXES)
    with plain.open("rb") as source, target.open("wb") as file:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=_THREADS, write_checksum=True)
        compressor.copy_stream(source, file, size=plain.stat().st_size)
    plain.unlink()


def _names(directory: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(directory / SQLITE_PART)) as part:
        return [name for (name,) in part.execute(f"SELECT name FROM {table}")]


@contextmanager
def _attached(database: sqlite3.Connection, directory: Path) -> Iterator[None]:
    database.execute("ATTACH ? AS part", (str(directory / SQLITE_PART),))
    yield
    database.execute("DETACH part")


def _last_id(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])
