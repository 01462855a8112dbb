"""The editions for SQL, read by the programs that their readers have: SQLite, and DuckDB over HTTP."""

import json
import re
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_httpfs
import pytest
import zstandard

from pypi_scan.editions.columns import DETECTION_COLUMNS, PACKAGE_COLUMNS

NAMES = [f"p{number:03}" for number in range(40)]
HOSTILE = {
    "type": 'It\'s "quoted"; DROP TABLE scans; --',
    "message": "nul \x00, line\u2028separator, \U0001f600, '\"\\",
    "location": "packages/x.whl$a'b\n.py",
    "line": "x" * 40_000_000,  # DuckDB by itself refuses JSON of over 16 MiB
    "tags": ["it's", "twice", "twice"],
    "extra": {"nested": {"text": "\x00 \" '"}, "big": 2**70, "half": 0.5},
    "score": 1.5,
}


@pytest.fixture
def packed(make_scan: Callable[..., Any]) -> Path:
    """A dataset of three shards; p001 has a hostile detection, p002 none at all, p003 timed out."""
    scan = make_scan({**dict.fromkeys(NAMES), "bad": b"{"}, shards=3)
    for shard in scan.division.shard_ids:
        made = scan.results(shard)
        for record in made.records:
            name, (detection,) = record["pypi"]["name"], record["detections"]
            if name == "p001":
                record["detections"].append(detection | HOSTILE)
            if name == "p002":
                record["detections"] = []
        if any(status["name"] == "p003" for status in made.statuses):
            made.fail("p003", "timeout")
        made.accept()
    scan.pack()
    return Path(scan.directory / "dataset")


def records(dataset: Path) -> list[dict[str, Any]]:
    with zstandard.open(dataset / "dataset.zst", "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def test_sqlite_holds_every_detection_in_the_tables_of_auras_documentation(packed: Path, tmp_path: Path) -> None:
    with zstandard.open(packed / "dataset.sqlite.zst", "rb") as source, (tmp_path / "x.sqlite").open("wb") as target:
        shutil.copyfileobj(source, target)
    database = sqlite3.connect(tmp_path / "x.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    columns = {
        table: [column[1] for column in database.execute(f"PRAGMA table_info({table})")]
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    assert columns == {
        "scans": ["id", "package_name", "metadata", "version"],
        "detection_types": ["id", "name"],
        "detections": [
            "id", "scan", "type", "signature", "message", "score", "extra", "severity", "location", "line_no", "line",
        ],
        "tag_names": ["id", "name"],
        "tags": ["detection", "tag"],
    }  # fmt: skip
    rows = database.execute(
        "SELECT detections.id, package_name, version, detection_types.name, message, score, severity, location,"
        " line_no, line, extra, metadata FROM detections JOIN scans ON scans.id = scan"
        " JOIN detection_types ON detection_types.id = type ORDER BY package_name, detections.id"
    ).fetchall()
    expected = [(record, detection) for record in records(packed) for detection in record["detections"]]
    assert len(rows) == len(expected) == len(NAMES) - 1  # p001 has two, p002 and p003 none
    for row, (record, one) in zip(rows, expected, strict=True):
        number, package, version, kind, message, score, severity, location, line_no, line, extra, metadata = row
        assert (package, version) == (record["pypi"]["name"], record["pypi"]["version"])
        assert json.loads(metadata) == record["metadata"]
        assert (kind, message, score, severity) == (one["type"], one["message"], one["score"], one["severity"])
        assert (location, line_no, line) == (one["location"], one["line_no"], one["line"])
        assert json.loads(zlib.decompress(extra)) == one["extra"]
        tags = database.execute("SELECT name FROM tags JOIN tag_names ON id = tag WHERE detection = ?", (number,))
        assert {tag for (tag,) in tags} == set(one["tags"])


def test_parquet_holds_every_detection_and_every_package(packed: Path) -> None:
    detections = duckdb.sql(f"FROM '{packed}/detections.parquet'")
    assert detections.columns == [column.name for column in DETECTION_COLUMNS]
    rows = [dict(zip(detections.columns, row, strict=True)) for row in detections.fetchall()]
    expected = sorted(
        ((one["type"], record["pypi"]["name"], one) for record in records(packed) for one in record["detections"]),
        key=lambda item: item[:2],
    )
    for row, (kind, package, one) in zip(rows, expected, strict=True):
        assert (row["type"], row["package"], row["version"]) == (kind, package, "1.0")
        assert json.loads(row["extra"]) == one["extra"]
        assert row["fingerprint"] in ("ast_pattern#open_file", "ast_pattern#open_file/3#packages")
        same = {key: one[key] for key in ("severity", "message", "location", "line_no", "line", "tags")}
        assert {key: row[key] for key in same} == same
    signatures = [row["signature"] for row in rows]
    assert all(re.fullmatch("[0-9a-f]{16}", signature) for signature in signatures)
    packages = duckdb.sql(f"FROM '{packed}/packages.parquet'")
    assert packages.columns == [column.name for column in PACKAGE_COLUMNS]
    rows = [dict(zip(packages.columns, row, strict=True)) for row in packages.fetchall()]
    assert [row["package"] for row in rows] == sorted(["bad", *NAMES])
    without = {row["package"]: row["status"] for row in rows if row["frame_offset"] is None}
    assert without == {"bad": "skipped", "p003": "timeout"}
    content = (packed / "dataset.zst").read_bytes()
    for row in rows:
        if row["package"] not in without:
            start = row["frame_offset"]
            frame = zstandard.ZstdDecompressor().decompress(content[start : start + row["frame_length"]])
            assert any(json.loads(line)["pypi"]["name"] == row["package"] for line in frame.splitlines())


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves files, also parts of them, and counts what it sends."""

    sent: list[int]

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        start, end = 0, len(content)
        if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end = int(asked[1]), min(int(asked[2]) + 1, end)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:end])
        self.sent.append(end - start)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], tuple[str, list[int]]]]:
    """Serve a directory: returns its URL, and a list to which the sizes of the answers go."""
    servers = []

    def start(directory: Path) -> tuple[str, list[int]]:
        sent: list[int] = []
        handler = partial(type("Handler", (RangeHandler,), {"sent": sent}), directory=directory)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", sent

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def remote(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with its extension for HTTP."""
    (extension,) = Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension")
    connection = duckdb.connect(config={"extension_directory": str(tmp_path / "extensions")})
    connection.execute(f"INSTALL '{extension}'; LOAD httpfs")
    return connection


def test_duckdb_reads_little_over_http(
    make_scan: Callable[..., Any],
    serve: Callable[[Path], tuple[str, list[int]]],
    remote: duckdb.DuckDBPyConnection,
) -> None:
    scan = make_scan(dict.fromkeys(NAMES), shards=2)
    for shard in scan.division.shard_ids:
        made = scan.results(shard)
        for record in made.records:
            (one,) = record["detections"]
            record["detections"] = [
                one | {"type": kind, "line": f"{record['name']} {kind} {number}" * 3}
                for kind in ("Common", "Rare", "Usual")
                for number in range(3 if kind == "Rare" else 4000)
            ]
        made.accept()
    scan.pack()
    whole = (scan.directory / "dataset" / "detections.parquet").stat().st_size
    url, sent = serve(scan.directory / "dataset")
    rare = remote.execute(f"SELECT package, line FROM '{url}/detections.parquet' WHERE type = 'Rare'").fetchall()
    assert len(rare) == 3 * len(NAMES)
    assert sum(sent) < whole / 3
    sent.clear()
    one = remote.execute(f"SELECT line FROM '{url}/detections.parquet' WHERE package = 'p007'").fetchall()
    assert len(one) == 8003
    assert sum(sent) < whole
