"""Small fake mirrors, scans of them, and a real object store: ``rclone serve s3`` on loopback, signatures checked."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from demo.object_store import ObjectStore, object_store
from pypi_scan.accept import ShardSummary, accept_results
from pypi_scan.divide import Division, divide_scan
from pypi_scan.manifest import Manifest
from pypi_scan.mirror import Mirror
from pypi_scan.pack import pack_editions, pack_scan
from pypi_scan.plan import Plan, plan_scan
from pypi_scan.publish import Cdn, make_client
from pypi_scan.record_store import RecordStore
from pypi_scan.results import Scanner
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


NOW = datetime(2026, 11, 1, tzinfo=UTC)
SCANNER = Scanner("aura-security", "2.1", "3.11.9", {"timeout": 900.0, "libmagic": "5.46", "secrets": "redacted"}, {})
DATASETS = {"pypi_stats.json": "a" * 64, "reverse_dependencies.json": "b" * 64}


class Results:
    """The results of one shard in the making, as the worker writes them; `write` puts them into `directory`.

    Each package has a detection in its code and, if `downloads` are given, one that says how many they are. Change what
    the attributes hold to tell a lie.
    """

    def __init__(self, shard: Path, directory: Path, downloads: int | None = None) -> None:
        self.directory = directory
        self.shard = shard
        every = _read_zst(shard)
        packages = [package for package in every if not package.get("known")]
        self.known: list[dict[str, Any]] = [
            {"name": package["name"], "detections": _popularity(package["name"], downloads)}
            for package in every
            if package.get("known")
        ]
        self.blocks = {package["name"]: package["block"] for package in every}
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
                "detections": 1 if downloads is None else 2,
                "score": 10,
                "files": [{key: file[key] for key in ("path", "sha256", "size")} for file in package["files"]],
            }
            for package in packages
        ]
        self.records = [
            {
                "detections": sorted(
                    [_detection(package["files"][0]["path"]), *_popularity(package["name"], downloads)], key=_json_line
                ),
                "imported_modules": ["os"],
                "tags": ["file_access", *([] if downloads is None else ["package_info"]), "taint_sink"],
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
        self.scanner: dict[str, Any] = {**msgspec.to_builtins(SCANNER), "datasets": DATASETS}

    def fail(self, name: str, status: str) -> None:
        """Let a package end without a record."""
        entry = next(entry for entry in self.statuses if entry["name"] == name)
        entry |= {"status": status, "reason": "for a reason", "record": False}
        self.records = [record for record in self.records if record["pypi"]["name"] != name]

    def write(self) -> Path:
        """Write the files, the records in one frame a block; return the directory."""
        self.directory.mkdir(parents=True)
        of_blocks = groupby(self.records, key=lambda record: self.blocks.get(record["pypi"]["name"]))
        self.write_records(*(b"".join(map(_json_line, records)) for _, records in of_blocks))
        (self.directory / "known.jsonl").write_bytes(b"".join(map(_json_line, self.known)))
        (self.directory / "status.jsonl").write_bytes(b"".join(map(_json_line, self.statuses)))
        (self.directory / "joblog.txt").write_text("".join(f"{row}\n" for row in [self.joblog_header, *self.joblog]))
        (self.directory / "scanner.json").write_bytes(_json_line(self.scanner))
        return self.directory

    def accept(self, scanner: Scanner = SCANNER) -> ShardSummary:
        """Write them, the statuses telling of the records as these are now, and have the control host accept them."""
        records = {record["pypi"]["name"]: record for record in self.records}
        for status in self.statuses:
            if (record := records.get(status["name"])) and isinstance(record["detections"], list):
                status |= {"detections": len(record["detections"]), "score": record["score"]}
        self.write()
        return self.accept_written(scanner)

    def accept_written(self, scanner: Scanner = SCANNER) -> ShardSummary:
        """Have the control host accept what was written."""
        with open_store(self.directory.parents[2]) as store:
            return accept_results(self.shard, self.directory, scanner, store)

    def write_records(self, *frames: bytes) -> None:
        """Write lines as the records, each of `frames` in a frame of its own."""
        compressor = zstandard.ZstdCompressor(level=17, write_checksum=True)
        (self.directory / "records.jsonl.zst").write_bytes(b"".join(map(compressor.compress, frames)))


def open_store(scans_dir: Path, now: datetime = NOW) -> RecordStore:
    """The record store of the scans in a directory."""
    return RecordStore(scans_dir / "records.sqlite", now)


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


def _popularity(name: str, downloads: int | None) -> list[dict[str, Any]]:
    """What Aura says of the package, not of its code: nothing if `downloads` are not known."""
    about = {
        "type": "PackageInformation",
        "slug": "packageinformation",
        "severity": "unknown",
        "score": 0,
        "message": "Package information",
        "signature": f"package_enrichment#{name}",
        "tags": ["package_info"],
        "extra": {"score": {"downloads": downloads}, "reverse_dependencies": []},
    }
    return [] if downloads is None else [about]


def _json_line(value: object) -> bytes:
    """A value as the worker writes it into a file of JSON lines."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class Scan:
    """A planned and divided scan, whose results are to come."""

    directory: Path
    plan: Plan
    division: Division

    def results(self, shard: str, downloads: int | None = None) -> Results:
        """Honest results of a shard, not written yet."""
        return Results(self.directory / "shards" / f"{shard}.jsonl.zst", self.directory / "results" / shard, downloads)

    def pack(self, cdn_public_url: str = "https://cdn.example", **options: Any) -> Manifest:
        """Pack what was accepted, as the tasks editions and pack do."""
        pack_editions(self.directory)
        return pack_scan(self.directory, cdn_public_url, **options)


@pytest.fixture
def make_scan(make_mirror: Callable[..., Mirror], tmp_path: Path) -> Callable[..., Scan]:
    """Plan a scan of a mirror; see `make_mirror`."""

    def make(packages: dict[str, list[str] | bytes | None], shards: int = 1) -> Scan:
        plan = plan_scan(make_mirror(packages), ScanRequest(NOW), tmp_path / "scans", "run")
        directory = tmp_path / "scans" / plan.scan_id
        return Scan(directory, plan, divide_scan(directory, SCANNER, records=None, shards=shards))

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
