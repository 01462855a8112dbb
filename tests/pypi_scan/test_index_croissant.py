"""The Croissant description, read by MLCommons' own reader, records and all."""

import json
import logging
from pathlib import Path
from typing import Any

import duckdb
import mlcroissant
import pytest

from pypi_scan.index.croissant import render_croissant
from pypi_scan.index.scan_files import TABLES

from .published_scans import PUBLIC_URL, described, listed

INDEX_URL = f"{PUBLIC_URL}/pypi_datasets/index/"
SQL_TYPES = {"text": "VARCHAR", "texts": "VARCHAR[]", "integer": "BIGINT", "number": "DOUBLE"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "packages.parquet": [
        {"package": "demo", "version": "1.0", "status": "ok", "score": 10, "seconds": 1.5, "frame_offset": 0},
        {"package": "gone", "status": "no_release", "reason": "no release", "score": 0, "seconds": 0.0},
    ],
    "detections.parquet": [
        {"package": "demo", "version": "1.0", "type": "FunctionCall", "line_no": 3, "tags": ["a", "b"], "extra": "{}"},
        {"package": "demo", "version": "1.0", "type": "Wheel", "tags": []},
    ],
}


def write_tables(directory: Path) -> dict[str, bytes]:
    for name, columns in TABLES.items():
        types = ", ".join(f'"{column.name}" {SQL_TYPES[column.type]}' for column in columns)
        with duckdb.connect() as database:
            database.execute(f"CREATE TABLE made ({types})")
            for row in ROWS[name]:
                values = [row.get(column.name) for column in columns]
                database.execute(f"INSERT INTO made VALUES ({', '.join('?' * len(values))})", values)
            database.execute(f"COPY made TO '{directory / name}' (FORMAT parquet)")
    return {name: (directory / name).read_bytes() for name in TABLES}


def test_the_reader_finds_nothing_amiss_and_reads_every_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tables = write_tables(tmp_path)
    content = render_croissant(described(files=listed({"dataset.zst": b"zst"} | tables)), INDEX_URL)
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(json.loads(content), mapping={name: tmp_path / name for name in TABLES})
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings, caplog.messages) == (set(), set(), [])
    for name, columns in TABLES.items():
        record_set = name.removesuffix(".parquet")
        read = [{key: text(value) for key, value in record.items()} for record in dataset.records(record_set)]
        whole = [{f"{record_set}/{column.name}": row.get(column.name) for column in columns} for row in ROWS[name]]
        assert read == whole
    fields = [field for record_set in json.loads(content)["recordSet"] for field in record_set["field"]]
    assert [field["@id"] for field in fields if field.get("repeated")] == ["detections/tags"]


def text(value: Any) -> Any:
    """The reader gives text as bytes."""
    if isinstance(value, list):
        return [text(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def test_every_file_is_described() -> None:
    scan = described(files=listed({"dataset.zst": b"zst", "packages.parquet": b"parquet", "new.bin": b"?"}))
    document = json.loads(render_croissant(scan, INDEX_URL))
    files = {file["@id"]: file for file in document["distribution"]}
    assert files.keys() == {file.name for file in scan.files}
    packages = next(file for file in scan.files if file.name == "packages.parquet")
    assert files["packages.parquet"] == {
        "@type": "cr:FileObject",
        "@id": "packages.parquet",
        "name": "packages.parquet",
        "description": "Parquet: a row a package that was asked for",
        "contentUrl": f"{PUBLIC_URL}/pypi_datasets/2026-11-01/packages.parquet",
        "contentSize": "7 B",
        "encodingFormat": "application/x-parquet",
        "sha256": packages.sha256,
    }
    assert [record_set["@id"] for record_set in document["recordSet"]] == ["packages"]


def test_a_scan_without_tables_is_described_as_files() -> None:
    dataset = mlcroissant.Dataset(json.loads(render_croissant(described("2026-11-01-2"), INDEX_URL)))
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.version == "2026.11.1"
    assert not dataset.metadata.record_sets
