"""DuckDB, bounded in memory, that reads and writes files and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_MEMORY = 320  # MiB


@contextmanager
def duckdb_session(spill: Path, *, more_memory: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database in memory, of 320 MiB and `more_memory` bytes; what does not fit spills into `spill`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{_MEMORY + (more_memory >> 20)}MiB",
        "temp_directory": str(spill),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "threads": "1",
        # What was freed goes back to the system at once, and files that are read once are not kept in memory.
        "allocator_flush_threshold": "8MiB",
        "allocator_bulk_deallocation_flush_threshold": "8MiB",
        "enable_external_file_cache": False,
    }
    with duckdb.connect(config=config) as connection:
        yield connection


def quoted(path: Path) -> str:
    """Return a path as a string of SQL."""
    return "'" + str(path).replace("'", "''") + "'"
