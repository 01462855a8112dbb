"""DuckDB, bounded in memory, that reads and writes files and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_MEMORY = 256  # MiB


@contextmanager
def duckdb_session(spill: Path, *, more_memory: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database in memory, of 256 MiB and `more_memory` bytes; what does not fit spills into `spill`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{_MEMORY + (more_memory >> 20)}MiB",
        "temp_directory": str(spill),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "threads": "1",
    }
    with duckdb.connect(config=config) as connection:
        yield connection


def quoted(path: Path) -> str:
    """Return a path as a string of SQL."""
    return "'" + str(path).replace("'", "''") + "'"
