"""The columns of the Parquet editions."""

from collections.abc import Iterable
from dataclasses import dataclass

PACKAGES = "packages.parquet"
DETECTIONS = "detections.parquet"

_SQL_TYPES = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "texts": "VARCHAR[]"}


@dataclass(frozen=True)
class Column:
    """A column; `type` is text, integer, number, or texts for a list of text."""

    name: str
    type: str
    about: str

    @property
    def sql(self) -> str:
        """Its type in DuckDB's SQL."""
        return _SQL_TYPES[self.type]


PACKAGE_COLUMNS = (
    Column("package", "text", "canonical name"),
    Column("version", "text", "the version scanned"),
    Column("status", "text", "ok, or reused from an earlier scan, or why there is no complete record"),
    Column("reason", "text", "the status in a sentence, where there is no complete record"),
    Column("score", "integer", "sum of the detections' scores"),
    Column("detections", "integer", "number of detections"),
    Column("seconds", "number", "how long the scan took that made the record"),
    Column("cpu_seconds", "number", "processor time of it"),
    Column("peak_memory_bytes", "integer", "most memory it held"),
    Column("bytes", "integer", "size of the distribution files, as downloaded"),
    Column("files", "integer", "number of distribution files"),
    Column("frame_offset", "integer", "where in dataset.zst the frame with its record begins"),
    Column("frame_length", "integer", "length of that frame in bytes"),
)

DETECTION_COLUMNS = (
    Column("package", "text", "canonical name"),
    Column("version", "text", "the version scanned"),
    Column("type", "text", "kind of detection"),
    Column("severity", "text", "Aura's grade of it"),
    Column("score", "number", "what it adds to the package's score"),
    Column("message", "text", "what was found, in a sentence"),
    Column("location", "text", "the file it was found in"),
    Column("line_no", "integer", "line of that file"),
    Column("line", "text", "that line, as the package's author wrote it"),
    Column("signature", "text", "what tells detections apart, hashed as in the SQLite edition"),
    Column("fingerprint", "text", "the signature without paths and line numbers: the same in every version"),
    Column("tags", "texts", "Aura's tags"),
    Column("extra", "text", "what else belongs to a detection of this type, as JSON"),
)


def sql_struct(columns: Iterable[Column]) -> str:
    """Return columns as ``read_json`` takes them."""
    return "{" + ", ".join(f"{column.name}: '{column.sql}'" for column in columns) + "}"
