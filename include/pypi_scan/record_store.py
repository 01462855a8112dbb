"""The records of earlier scans, kept so that the next scan need not make them again.

A record is kept under a key of all that it follows from: the release, the scanner with its settings, and the schema of
records. What follows from the rest of PyPI (downloads, dependents, names that look alike) is not in it.
"""

import functools
import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Self

import msgspec
import zstandard

from pypi_scan.record import NotARecordError, decode_record, record_schema
from pypi_scan.results import Scanner
from pypi_scan.shard import PlannedRelease

log = logging.getLogger(__name__)

RECORDS_DATABASE = "records.sqlite"

_LEVEL = 6
_BUSY_SECONDS = 300.0  # that another task may write at a time
_AT_A_TIME = 64  # entries of a transaction or a query
_DAY = 86400  # seconds
# Apart from the records, as what is updated with every scan; that would write a page of each record anew.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, digest BLOB NOT NULL, content BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS uses (key BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
"""


class RecordStoreError(Exception):
    """The store as a whole cannot be used. The message says why and what to do."""


class KeptRecord(msgspec.Struct, frozen=True):
    """A record without what follows from the rest of PyPI, and what its scan took; `bytes` are of the files scanned."""

    record: msgspec.Raw
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    bytes: int


class RecordKeys:
    """The keys of records that `scanner` makes, whatever it is told of the rest of PyPI."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = msgspec.Raw(msgspec.json.encode(scanner.identity, order="sorted"))

    def key(self, release: PlannedRelease) -> bytes:
        """Return the key of the record of `release`, 32 bytes."""
        made_of = {"release": release, "scanner": self._scanner, "schema": _schema_digest()}
        return hashlib.sha256(msgspec.json.encode(made_of, order="sorted")).digest()


class RecordStore:
    """The store in the SQLite file `path`, which is made if need be; several processes may use it at once.

    Entries are used as of `now`, an aware datetime. To be closed, or used as a context manager. All methods raise
    RecordStoreError if the file is damaged or cannot be used; a damaged entry is as good as none, and is removed.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        self._today = int(now.timestamp()) // _DAY
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._clear_errors():
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.executescript(_SCHEMA)
            except sqlite3.Error:
                self._database.close()
                raise

    @classmethod
    def in_directory(cls, state_dir: Path) -> Self:
        """Open the store that the control host keeps in its state directory."""
        return cls(state_dir / RECORDS_DATABASE, datetime.now(UTC))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, KeptRecord]]:
        """Yield the entries under `keys`, in any order; each is whole and its record as the schema has it."""
        yield from self._entries(keys, _read)

    def whole(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of `keys` under which an entry is as it was put, in any order, without a look at its record.

        Such an entry is what `get` gives as long as only records as the schema has them are put: it is part of the key.
        """
        return [key for key, _ in self._entries(keys, _content)]

    def _entries[Entry](
        self, keys: Sequence[bytes], read: Callable[[bytes, bytes, bytes], Entry | None]
    ) -> Iterator[tuple[bytes, Entry]]:
        """Yield what `read` makes of the key, digest and content of entries; those it makes nothing of are removed."""
        for some in batched(keys, _AT_A_TIME):
            query = f"SELECT key, digest, content FROM records WHERE key IN ({_marks(some)})"  # noqa: S608 - no values
            with self._clear_errors():
                rows = self._database.execute(query, some)
            damaged = []
            while row := self._next(rows):
                key = row[0]
                entry = read(*row)
                if entry is None:
                    damaged.append(key)
                else:
                    yield key, entry
            if damaged:
                log.warning(
                    "%s: damaged records are removed: %d; the packages are scanned again", self._path, len(damaged)
                )
                self.remove(damaged)

    def put(self, entries: Iterable[tuple[bytes, KeptRecord]]) -> None:
        """Keep the entries; one that is there under the same key is replaced."""
        for some in batched(entries, _AT_A_TIME):
            rows = [(key, _digest(key, content), content) for key, content in ((k, _packed(r)) for k, r in some)]
            with self._transaction():
                self._database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", rows)
                self._note_use(key for key, _ in some)

    def touch(self, keys: Iterable[bytes]) -> None:
        """Note that the entries under `keys` are in use."""
        with self._transaction():
            self._note_use(keys)

    def remove(self, keys: Iterable[bytes]) -> None:
        """Forget the entries under `keys`."""
        with self._transaction():
            rows = [(key,) for key in keys]
            self._database.executemany("DELETE FROM records WHERE key = ?", rows)
            self._database.executemany("DELETE FROM uses WHERE key = ?", rows)

    def prune(self, days: int) -> int:
        """Remove the entries that were not in use for `days` days; return how many. New entries take their place."""
        with self._clear_errors():
            old = self._database.execute("SELECT key FROM uses WHERE day < ?", (self._today - days,)).fetchall()
        for some in batched((key for (key,) in old), _AT_A_TIME):
            self.remove(some)
        return len(old)

    def _note_use(self, keys: Iterable[bytes]) -> None:
        self._database.executemany(
            "INSERT INTO uses VALUES (?, ?) ON CONFLICT DO UPDATE SET day = max(day, excluded.day)",
            ((key, self._today) for key in keys),
        )

    def _next(self, rows: sqlite3.Cursor) -> tuple[bytes, bytes, bytes] | None:
        with self._clear_errors():
            row: tuple[bytes, bytes, bytes] | None = rows.fetchone()
            return row

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._clear_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise RecordStoreError(
                f"{self._path} cannot be used: {error}; check its permissions and the free space, then clear the task"
            ) from error
        except sqlite3.DatabaseError as error:
            raise RecordStoreError(
                f"{self._path} is damaged: {error}; remove it, with {self._path.name}-wal and {self._path.name}-shm, "
                "then clear the task divide: every package is scanned again, and the store fills anew"
            ) from error


def _content(key: bytes, digest: bytes, content: bytes) -> bytes | None:
    """Return the content of an entry, or None if it is not what was put."""
    return content if isinstance(content, bytes) and digest == _digest(key, content) else None


def _read(key: bytes, digest: bytes, content: bytes) -> KeptRecord | None:
    """Return what an entry holds, or None if it is damaged."""
    if _content(key, digest, content) is None:
        return None
    try:
        kept = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(content), type=KeptRecord)
        decode_record(bytes(kept.record).decode())
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError, NotARecordError):
        return None
    return kept


def _packed(kept: KeptRecord) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.json.encode(kept))


def _digest(key: bytes, content: bytes) -> bytes:
    return hashlib.sha256(key + content).digest()


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


@functools.cache
def _schema_digest() -> str:
    return hashlib.sha256(msgspec.json.encode(record_schema(), order="sorted")).hexdigest()
