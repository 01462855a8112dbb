"""What the fuzzers begin with: a real shard and real results, made by the project's own programs."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import zstandard

from pypi_scan.accept import accept_results
from pypi_scan.divide import divide_scan
from pypi_scan.mirror import Mirror
from pypi_scan.pack import pack_editions, pack_scan
from pypi_scan.plan import plan_scan
from pypi_scan.record_store import RecordStore
from pypi_scan.redaction_key import redaction_key
from pypi_scan.results import Scanner, read_scanner
from pypi_scan.scan_request import ScanRequest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "include" / "scripts"
_PYTHON = PROJECT / ".venv-worker" / "bin" / "python"
_PACKAGES = ("demo-greeting", "demo-guestbook", "demo-leaky-pypirc", "demo-truncated", "demo-units", "reqeusts")
_AS_OF = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A mirror, and a scan of a few packages in it whose shard holds known packages and others.

    `results` are what the worker returned of the shard, `kept` is the store with the records of the known ones, and
    `dataset` is what a scan before it was packed to.
    """

    mirror: Mirror
    shard: Path
    results: Path
    kept: Path
    scanner: Scanner
    dataset: Path


def make_world(upstream: Path, root: Path) -> World:
    """Scan packages of the demo's `upstream` tree below `root`, some of them twice."""
    mirror = _mirror(upstream / "web", root / "mirror")
    root.joinpath("aura").mkdir()
    popular = {"package_name": "requests", "downloads": 10**9}
    (root / "aura" / "pypi_stats.json").write_text(json.dumps(popular) + "\n")
    (root / "aura" / "reverse_dependencies.json").write_text(json.dumps({"demo-units": ["demo-greeting"]}))
    options = [f"--dataset={root / 'aura'}", f"--redaction-key={redaction_key(root)}", "--timeout=60"]
    described = _run("describe_scanner.py", *options[1:])
    scanner = msgspec.json.decode(described, type=Scanner)
    with RecordStore(root / "records.sqlite", _AS_OF) as store:
        first = _scan(mirror, root, _PACKAGES[::2], scanner, store, options)
        accept_results(first.shard, first.results, read_scanner(first.results), store)
        scan_dir = first.results.parents[1]
        pack_editions(scan_dir)
        pack_scan(scan_dir, "https://cdn.example")
        second = _scan(mirror, root, _PACKAGES, scanner, store, options)
    return World(mirror, second.shard, second.results, root / "records.sqlite", scanner, scan_dir / "dataset")


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a zstd file."""
    with zstandard.open(path, "rb") as file:
        yield from file.read().splitlines(keepends=True)


@dataclass(frozen=True)
class _Scanned:
    shard: Path
    results: Path


def _scan(
    mirror: Mirror, root: Path, packages: tuple[str, ...], scanner: Scanner, store: RecordStore, options: list[str]
) -> _Scanned:
    plan = plan_scan(mirror, ScanRequest(_AS_OF, packages), root / "scans", f"run of {len(packages)}")
    directory = root / "scans" / plan.scan_id
    divide_scan(directory, scanner, records=store, shards=1)
    scanned = _Scanned(directory / "shards" / "0001.jsonl.zst", directory / "results" / "0001")
    cache = [f"--shard={scanned.shard}", f"--cache={directory / 'cache'}"]
    _run("prefetch.py", *cache, f"--source={mirror.web}")
    _run("scan_shard.py", *cache, f"--output={scanned.results}", *options)
    return scanned


def _run(program: str, *arguments: str) -> bytes:
    done = subprocess.run([_PYTHON, SCRIPTS / program, *arguments], capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _mirror(web: Path, root: Path) -> Mirror:
    """Return a mirror of an upstream, as bandersnatch would make it."""
    (root / "web" / "json").mkdir(parents=True)
    (root / "web" / "packages").symlink_to(web / "packages")
    (root / "status").write_text("1")
    for document in web.glob("pypi/*/json"):
        (root / "web" / "json" / document.parent.name).write_bytes(document.read_bytes())
    return Mirror(root)
