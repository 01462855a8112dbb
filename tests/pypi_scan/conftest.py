"""Small fake mirrors, scans of them, and a real object store: ``rclone serve s3`` on loopback, signatures checked."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from demo.object_store import ObjectStore, object_store
from pypi_scan.accept import ShardSummary, accept_results
from pypi_scan.manifest import Manifest
from pypi_scan.mirror import Mirror
from pypi_scan.pack import pack_editions, pack_scan
from pypi_scan.plan import Plan, plan_scan
from pypi_scan.publish import Cdn, make_client
from pypi_scan.scan_request import ScanRequest


def package_json(name: str, requires_dist: list[str] | None = None) -> bytes:
    """A package's JSON document with one release that has one file."""
    file = {
        "filename": f"{name}-1.0.tar.gz",
        "url": f"https://files.example/packages/ab/cd/{name}-1.0.tar.gz",
        "digests": {"sha256": "0" * 64},
        "size": 1,
        "upload_time_iso_8601": "2026-01-01T00:00:00.000000Z",
    }
    info = {"name": name, "version": "1.0", "requires_dist": requires_dist}
    return json.dumps({"info": info, "releases": {"1.0": [file]}, "last_serial": 1}).encode()


@pytest.fixture
def make_mirror(tmp_path: Path) -> Callable[..., Mirror]:
    """Make a mirror of {name: requires_dist, or bytes to use as the JSON document}."""

    def make(packages: dict[str, list[str] | bytes | None]) -> Mirror:
        root = tmp_path / "mirror"
        (root / "web/json").mkdir(parents=True)
        (root / "status").write_text("123")
        for name, content in packages.items():
            document = content if isinstance(content, bytes) else package_json(name, content)
            (root / "web/json" / name).write_bytes(document)
        return Mirror(root)

    return make


def _read_zst(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a zstd file."""
    with zstandard.open(path, "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


class Results:
    """The results of one shard in the making, as the worker writes them; `write` puts them into `directory`.

    Change what the attributes hold to tell a lie.
    """

    def __init__(self, shard: Path, directory: Path) -> None:
        self.directory = directory
        self.shard = shard
        packages = _read_zst(shard)
        self.statuses = [
            {
                "name": package["name"],
                "version": package["version"],
                "status": "ok",
                "reason": None,
                "record": True,
                "seconds": 1.5,
                "cpu_seconds": 1.25,
                "peak_memory_bytes": 2**27,
                "bytes": sum(file["size"] for file in package["files"]),
                "detections": 1,
                "score": 10,
                "files": [{key: file[key] for key in ("path", "sha256", "size")} for file in package["files"]],
            }
            for package in packages
        ]
        self.records = [
            {
                "detections": [_detection(package["files"][0]["path"])],
                "imported_modules": ["os"],
                "tags": [],
                "metadata": {"uri_input": {"package": package["name"], "package_name": package["name"]}},
                "score": 10,
                "name": f"mirror://{package['name']}",
                "pypi": {key: package[key] for key in ("name", "version", "files")},
            }
            for package in packages
        ]
        self.joblog = [
            f"{number}\t:\t{1795350540.879:14.3f}\t{1.5:10.3f}\t0\t7014\t0\t0\tscan {package['name']}"
            for number, package in enumerate(packages, start=1)
        ]
        self.joblog_header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
        self.scanner: dict[str, Any] = {
            "scanner": "aura-security",
            "version": "2.1",
            "python": "3.11.9",
            "settings": {"timeout": 900.0, "libmagic": "5.46", "secrets": "redacted"},
        }

    def fail(self, name: str, status: str) -> None:
        """Let a package end without a record."""
        entry = next(entry for entry in self.statuses if entry["name"] == name)
        entry |= {"status": status, "reason": "for a reason", "record": False}
        self.records = [record for record in self.records if record["pypi"]["name"] != name]

    def write(self) -> Path:
        """Write the four files, the records in one frame a record; return the directory."""
        self.directory.mkdir(parents=True)
        self.write_records(*(_json_line(record) for record in self.records))
        (self.directory / "status.jsonl").write_bytes(b"".join(map(_json_line, self.statuses)))
        (self.directory / "joblog.txt").write_text("".join(f"{row}\n" for row in [self.joblog_header, *self.joblog]))
        (self.directory / "scanner.json").write_bytes(_json_line(self.scanner))
        return self.directory

    def accept(self) -> ShardSummary:
        """Write them, and have the control host accept them."""
        return accept_results(self.shard, self.write())

    def write_records(self, *lines: bytes) -> None:
        """Write these lines as the records, each in a frame of its own."""
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        (self.directory / "records.jsonl.zst").write_bytes(b"".join(map(compressor.compress, lines)))


def _detection(path: str) -> dict[str, Any]:
    """A call of open() in line 3 of a module in the file at `path`."""
    location = f"{path}$demo/__init__.py"
    return {
        "type": "FunctionCall",
        "slug": "functioncall",
        "severity": "low",
        "score": 10,
        "message": "Code is accessing files via open",
        "signature": f"ast_pattern#open_file/3#{location}",
        "location": location,
        "line": "open(path)",
        "line_no": 3,
        "tags": ["file_access", "taint_sink"],
        "extra": {"function": "open"},
    }


def _json_line(value: object) -> bytes:
    """A value as the worker writes it into a file of JSON lines."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class Scan:
    """A planned scan, whose results are to come."""

    directory: Path
    plan: Plan

    def results(self, shard: str) -> Results:
        """Honest results of a shard, not written yet."""
        return Results(self.directory / "shards" / f"{shard}.jsonl.zst", self.directory / "results" / shard)

    def pack(self, cdn_public_url: str = "https://cdn.example", **options: Any) -> Manifest:
        """Pack what was accepted, as the tasks editions and pack do."""
        pack_editions(self.directory)
        return pack_scan(self.directory, cdn_public_url, **options)


@pytest.fixture
def make_scan(make_mirror: Callable[..., Mirror], tmp_path: Path) -> Callable[..., Scan]:
    """Plan a scan of a mirror; see `make_mirror`."""

    def make(packages: dict[str, list[str] | bytes | None], shards: int = 1) -> Scan:
        request = ScanRequest(datetime(2026, 11, 1, tzinfo=UTC), shards=shards)
        plan = plan_scan(make_mirror(packages), request, tmp_path / "scans", "run")
        return Scan(tmp_path / "scans" / plan.scan_id, plan)

    return make


@pytest.fixture
def read_zst() -> Callable[[Path], list[dict[str, Any]]]:
    """Read a zstd file of JSON lines."""
    return _read_zst


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A running object store."""
    root = tmp_path_factory.mktemp("object-store")
    with object_store(root / "buckets", root / "logs") as running:
        yield running


@pytest.fixture
def cdn(store: ObjectStore) -> Cdn:
    """A new, empty bucket."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    client = make_client(store.endpoint_url, store.access_key, store.secret_key, "us-east-1")
    client.create_bucket(Bucket=bucket)
    return Cdn(client, bucket, "https://cdn.example")
