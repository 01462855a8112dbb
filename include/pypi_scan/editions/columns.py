"""The columns of the Parquet editions, in order: {name: type in DuckDB's SQL}."""

PACKAGES = "packages.parquet"
DETECTIONS = "detections.parquet"

PACKAGE_COLUMNS = {
    "package": "VARCHAR",
    "version": "VARCHAR",
    "status": "VARCHAR",
    "reason": "VARCHAR",
    "score": "BIGINT",
    "detections": "BIGINT",
    "seconds": "DOUBLE",
    "cpu_seconds": "DOUBLE",
    "peak_memory_bytes": "BIGINT",
    "bytes": "BIGINT",
    "files": "INTEGER",
    "frame_offset": "BIGINT",
    "frame_length": "BIGINT",
}

DETECTION_COLUMNS = {
    "package": "VARCHAR",
    "version": "VARCHAR",
    "type": "VARCHAR",
    "severity": "VARCHAR",
    "score": "DOUBLE",
    "message": "VARCHAR",
    "location": "VARCHAR",
    "line_no": "BIGINT",
    "line": "VARCHAR",
    "signature": "VARCHAR",
    "fingerprint": "VARCHAR",
    "tags": "VARCHAR[]",
    "extra": "VARCHAR",
}


def sql_struct(columns: dict[str, str]) -> str:
    """Return columns as ``read_json`` takes them."""
    return "{" + ", ".join(f"{name}: '{kind}'" for name, kind in columns.items()) + "}"
