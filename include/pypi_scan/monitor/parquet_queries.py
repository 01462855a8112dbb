"""Questions to the Parquet editions of scans: one DuckDB a process, bounded, that any thread may ask."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from pypi_scan.names import printable

_MEMORY = "512MiB"  # of all questions together; one that needs more fails, nothing is written to disk
_THREADS = 2
_ROWS = 1000  # that are in memory of an answer that is streamed

type Row = tuple[Any, ...]
type Parameters = Sequence[object] | dict[str, object]


class EditionError(Exception):
    """A Parquet edition cannot be read; the message says which, why and what to do."""


@cache
def _database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "memory_limit": _MEMORY,
            "threads": _THREADS,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute(
        "SET parquet_metadata_cache = true"
    )  # what a file's footer says, as long as the file is the same
    return connection


def ask(edition: Path, sql: str, parameters: Parameters = ()) -> list[Row]:
    """Return the rows that a query about `edition` gives; raises EditionError."""
    with _database().cursor() as cursor:
        try:
            return cursor.execute(sql, parameters).fetchall()
        except duckdb.Error as error:
            raise _unreadable(edition, error) from error


def stream(edition: Path, sql: str, parameters: Parameters = ()) -> Iterator[Row]:
    """Yield the rows that a query about `edition` gives, of which few are in memory at a time; raises EditionError."""
    with _database().cursor() as cursor:
        try:
            cursor.execute(sql, parameters)
            while rows := cursor.fetchmany(_ROWS):
                yield from rows
        except duckdb.Error as error:
            raise _unreadable(edition, error) from error


def _unreadable(edition: Path, error: duckdb.Error) -> EditionError:
    reason = printable(str(error).partition("\n")[0])
    return EditionError(f"{edition} cannot be read: {reason}; if it is damaged, clear the task editions of that scan")
