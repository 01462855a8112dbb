"""``packages.parquet`` and ``detections.parquet``, for DuckDB, pandas, Polars and everything else that reads Parquet.

Packages are sorted by name. Detections are sorted by type, then package, so who asks for one type, or for one package,
reads few row groups over HTTP: their statistics tell which.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pypi_scan.editions.columns import DETECTION_COLUMNS, PACKAGE_COLUMNS, sql_struct
from pypi_scan.editions.database import duckdb_session, quoted
from pypi_scan.editions.parts import ORDER, PARQUET_PART

_PACKAGES_A_GROUP = 20_480
_DETECTIONS_A_GROUP = 20_480
_FORMAT = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3"


def write_packages(rows: Path, target: Path) -> None:
    """Write ``packages.parquet`` from `rows`, JSON lines that are sorted by package."""
    with duckdb_session(target.parent) as database:
        database.execute(
            f"COPY (SELECT * FROM read_json({quoted(rows)}, format = 'newline_delimited', "
            f"columns = {sql_struct(PACKAGE_COLUMNS)})) "
            f"TO {quoted(target)} ({_FORMAT}, ROW_GROUP_SIZE {_PACKAGES_A_GROUP})"
        )


def write_detections(parts: Sequence[Path], target: Path) -> None:
    """Merge the parts of all shards, given by their directories, into ``detections.parquet``."""
    columns = ", ".join(column.name for column in DETECTION_COLUMNS)
    files = ", ".join(quoted(directory / PARQUET_PART) for directory in parts)
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix="sort-") as spill,
        duckdb_session(Path(spill)) as database,
    ):
        database.execute(
            f"COPY (SELECT {columns} FROM read_parquet([{files}]) ORDER BY {ORDER}) "
            f"TO {quoted(target)} ({_FORMAT}, ROW_GROUP_SIZE {_DETECTIONS_A_GROUP})"
        )
