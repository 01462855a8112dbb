"""Scans of a synthetic PyPI for the monitor: datasets made by the editions' own code from records of real shape.

As in real scans, nearly all detections are imports and statistics of files, most packages have a few, and some have
thousands. The same number of packages gives the same scans.
"""

import math
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from population import Package, packages

from pypi_scan.dataset_index import DATASET
from pypi_scan.divide import DIVISION, Division, ShardPlan
from pypi_scan.editions.columns import DETECTIONS, PACKAGES
from pypi_scan.editions.parquet import write_detections, write_packages
from pypi_scan.editions.parts import writing_parts
from pypi_scan.fleet import Capacity, Fleet, FleetShard, FleetWorker
from pypi_scan.fleet_file import FLEET
from pypi_scan.frames import FRAME_BYTES
from pypi_scan.manifest import MANIFEST, Counts, Manifest
from pypi_scan.plan import Plan
from pypi_scan.record import Detection, Record, RecordFile, RecordOrigin
from pypi_scan.results import STATUSES, Scanner
from pypi_scan.scan_progress import PROGRESS, ShardProgress, write_progress
from pypi_scan.status import PackageStatus

SHARDS = 40
CHANGED = 0.10  # of the packages have another release a month later
MEDIAN_DETECTIONS, SIGMA_DETECTIONS, MOST_DETECTIONS = 4.0, 1.35, 20_000  # log-normal, ten in the mean
_BLOCK = 128  # packages, of which no frame holds more
_DAY = 86_400.0
_SCANNER = Scanner("aura-security", "2.1", "3.11.9", {"secrets": "redacted"})
_MODULES = ["os", "re", "sys", "json", "typing", "logging", "subprocess", "collections.abc", "numpy", "requests"]


class _Kind(NamedTuple):
    """A kind of detection: how many of a thousand are of it, and what those have in common."""

    share: float
    type: str
    severity: str
    score: int
    message: str
    tags: list[str]


_KINDS = (
    _Kind(500, "ModuleImport", "unknown", 0, "Module '{}' import in a source code", []),
    _Kind(420, "FileStats", "unknown", 0, "Statistics about files scanned by aura", []),
    _Kind(20, "PackageInformation", "unknown", 0, "Package information", ["package_info"]),
    _Kind(18, "FunctionCall", "unknown", 0, "Code is accessing files via {}", ["file_access", "taint_sink"]),
    _Kind(10, "FunctionCall", "low", 10, "Debug mode enabled in {}", ["flask_debug"]),
    _Kind(8, "FunctionCall", "high", 50, "Inline import of {}", ["import", "obfuscation", "taint_sink"]),
    _Kind(5, "FunctionCall", "critical", 100, "eval/exec usage found in a source code", ["code_execution"]),
    _Kind(5, "StringMatch", "unknown", 0, "regex match: A possible URL has been found", ["url"]),
    _Kind(3, "ASTPattern", "low", 10, "Usage of MD5 for cryptographic purposes is dangerous", ["deprecated"]),
    _Kind(3, "ASTParseError", "unknown", 0, "Unable to parse the source code", []),
    _Kind(2.5, "SuspiciousFile", "unknown", 5, "A potentially suspicious file has been found", ["hidden_file"]),
    _Kind(2, "SQLInjection", "high", 50, "Possible SQL injection found", []),
    _Kind(1, "Detection", "critical", 100, "Usage of __reduce__ indicates a possible pickle exploit", ["pickleploit"]),
    _Kind(1, "SetupScript", "critical", 100, "Found code with network communication in a setup script", ["network"]),
    _Kind(0.5, "LeakingSecret", "critical", 0, "Possible sensitive leaking secret", ["secrets_leak"]),
    _Kind(0.5, "StringMatch", "critical", 100, "regex match: Amazon AWS key", ["secrets_leak"]),
    _Kind(0.3, "ArchiveAnomaly", "low", 10, "Could not open the archive for analysis", []),
    _Kind(0.15, "Typosquatting", "unknown", 0, "Located a PyPI package with a similar name", ["typosquatting"]),
    _Kind(0.05, "LeakingPyPIrc", "critical", 250, "Leaking credentials in the `.pypirc` file", ["pypirc"]),
)
_SHARES = [kind.share for kind in _KINDS]


def make_scans(scans: Path, scan_ids: Sequence[str], names: Sequence[str]) -> int:
    """Write a dataset below `scans` for each of `scan_ids`, the oldest first; return the detections of the last."""
    described = sorted(packages(names))
    counts = [_make_scan(scans / scan_id, month, described) for month, scan_id in enumerate(scan_ids)]
    return counts[-1]


def _make_scan(scan: Path, month: int, described: Sequence[Package]) -> int:
    dataset, parts = scan / "dataset", scan / "parts"
    dataset.mkdir(parents=True)
    shards = list(batched(described, math.ceil(len(described) / SHARDS)))
    directories = [parts / f"{number:04}" for number in range(len(shards))]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        detections = sum(pool.map(partial(_make_shard, month), directories, shards))
    rows = parts / "packages.jsonl"
    with rows.open("wb") as statuses, (dataset / DATASET).open("wb") as records:
        for directory in directories:
            before = records.tell()
            for line in (directory / "packages.jsonl").read_bytes().splitlines():
                row = msgspec.json.decode(line)
                statuses.write(msgspec.json.encode(row | {"frame_offset": row["frame_offset"] + before}) + b"\n")
            records.write((directory / DATASET).read_bytes())
    write_packages(rows, dataset / PACKAGES)
    write_detections(directories, dataset / DETECTIONS)
    for path in sorted(parts.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    parts.rmdir()
    counts = Counts(len(described), len(described), {"ok": len(described)})
    plan = Plan(
        scan_id=scan.name, as_of=f"{scan.name}T00:00:00Z", run_id=f"manual__{scan.name}", partial=False,
        mirror_serial=1, input=len(described), planned=len(described), files=len(described),
        bytes=sum(one.size for one in described),
    )  # fmt: skip
    (scan / "plan.json").write_bytes(msgspec.json.encode(plan))
    manifest = Manifest(scan.name, f"{scan.name}T00:00:00Z", 1, _SCANNER, {}, counts, [])
    (dataset / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return detections


def _make_shard(month: int, directory: Path, described: Sequence[Package]) -> int:
    """Write the parts, the frames and the rows of packages.parquet of a shard; return how many detections it has."""
    directory.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    with writing_parts(directory) as parts, (directory / DATASET).open("wb") as frames:
        frame: list[bytes] = []
        begun = size = 0

        def end_frame() -> None:
            nonlocal begun
            offset = frames.tell()
            length = frames.write(zstandard.ZstdCompressor(level=3).compress(b"".join(frame)))
            for row in rows[begun:]:
                row |= {"frame_offset": offset, "frame_length": length}
            begun = len(rows)
            frame.clear()

        for package in described:
            record = _record(package, month)
            parts.add(record)
            frame.append(msgspec.json.encode(record) + b"\n")
            rows.append(_row(package, record))
            size += len(frame[-1])
            if size >= FRAME_BYTES or len(frame) == _BLOCK:
                end_frame()
                size = 0
        end_frame()
    (directory / "packages.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return sum(row["detections"] for row in rows)


def _row(package: Package, record: Record) -> dict[str, Any]:
    """Return a row of packages.parquet, without where its record lies."""
    return {
        "package": package.name,
        "version": record.pypi.version,
        "status": "ok",
        "score": record.score,
        "detections": len(record.detections),
        "seconds": package.cost,
        "cpu_seconds": package.cost,
        "peak_memory_bytes": 100_000_000,
        "bytes": package.size,
        "files": package.files,
    }


def _record(package: Package, month: int) -> Record:
    version = 1 + sum(random.Random(f"{package.name} {n}").random() < CHANGED for n in range(month))  # noqa: S311
    draw = random.Random(f"{package.name} 1.{version}")  # noqa: S311
    wheel = f"packages/{draw.randbytes(1).hex()}/{draw.randbytes(1).hex()}/{draw.randbytes(30).hex()}"
    path = f"{wheel}/{package.name.replace('-', '_')}-1.{version}-py3-none-any.whl"
    count = min(round(draw.lognormvariate(math.log(MEDIAN_DETECTIONS), SIGMA_DETECTIONS)), MOST_DETECTIONS)
    detections = list(_detections(draw, path, count))
    return Record(
        detections=detections,
        imported_modules=_MODULES,
        tags=sorted({tag for one in detections for tag in one.tags}),
        metadata=msgspec.Raw(
            msgspec.json.encode({"uri_input": {"package": package.name, "package_name": package.name}})
        ),
        score=sum(one.score for one in detections),
        name=f"mirror://{package.name}",
        pypi=RecordOrigin(
            package.name, f"1.{version}", [RecordFile(path, "0" * 64, package.size, "2026-01-01T00:00:00Z")]
        ),
    )


def _detections(draw: random.Random, path: str, count: int) -> Iterator[Detection]:
    modules = max(1, count // 5)
    for number, kind in enumerate(draw.choices(_KINDS, _SHARES, k=count)):
        location, line = f"{path}$pkg/module_{int(draw.random() * modules)}.py", 1 + number
        name = _MODULES[int(draw.random() * len(_MODULES))]
        extra = {"name": msgspec.Raw(f'"{name}"'.encode())}
        if kind.type == "FileStats":
            lengths = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "tlsh": 35}
            extra = {key: msgspec.Raw(f'"{draw.randbytes(length).hex()}"'.encode()) for key, length in lengths.items()}
        yield Detection(
            type=kind.type,
            slug=kind.type.lower(),
            severity=kind.severity,
            score=kind.score,
            message=kind.message.format(name),
            signature=f"{kind.type.lower()}#{name}#{location}:{line}",
            location=location,
            line=None if kind.type == "FileStats" else f"value_{line} = {name}.open_or_run(argument_{line}, *args)",
            line_no=None if kind.type == "FileStats" else line,
            tags=kind.tags,
            extra=extra,
        )


def make_running_scan(scan: Path, names: Sequence[str], shards: int, run_id: str, now: float) -> None:
    """Write what is there of a scan of the packages `names` when half of its `shards` are collected.

    Ten workers have scanned for a day until `now`, in seconds since the epoch, and have two shards each in hand.
    """
    described = sorted(packages(names))
    parts = list(batched(described, math.ceil(len(described) / shards)))
    plans = [
        ShardPlan(f"{n:04}", sum(one.cost for one in part), len(part), 0, sum(one.size for one in part))
        for n, part in enumerate(parts)
    ]
    total = sum(plan.bytes for plan in plans)
    (scan / PROGRESS).mkdir(parents=True)
    plan = Plan(
        scan_id=scan.name, as_of=f"{scan.name}T00:00:00Z", run_id=run_id, partial=False, mirror_serial=1,
        input=len(names), planned=len(names), files=len(names), bytes=total,
    )  # fmt: skip
    (scan / "plan.json").write_bytes(msgspec.json.encode(plan))
    division = Division(_SCANNER, plans, sum(plan.cost for plan in plans), len(names), 0, total)
    (scan / DIVISION).write_bytes(msgspec.json.encode(division))
    workers = [f"worker{number}" for number in range(10)]
    fleet = Fleet(4, {name: FleetWorker(Capacity(24)) for name in workers})
    half, began = len(plans) // 2, now - _DAY
    for number, (shard, part) in enumerate(zip(plans, parts, strict=True)):
        state = fleet.shards[shard.id] = FleetShard(shard.cost)
        if number >= half + 2 * len(workers):
            continue
        state.worker = workers[number % len(workers)]
        state.fetched, state.scans = True, [state.worker]
        turns = half / len(workers)
        state.started = began + (number // len(workers)) / turns * _DAY
        state.done = state.scanned = number < half
        done = shard.packages if state.done else shard.packages // 3
        noted = ShardProgress(
            "scan", state.worker, done, 1, shard.packages, 2.0, min(state.started + _DAY / turns, now)
        )
        write_progress(scan, shard.id, noted)
        if state.done:
            _write_statuses(scan / "results" / shard.id, part)
    (scan / FLEET).write_bytes(msgspec.json.encode(fleet))


def _write_statuses(directory: Path, part: Sequence[Package]) -> None:
    directory.mkdir(parents=True)
    statuses = (
        PackageStatus(
            package.name, "1.1", *(("timeout", f"over {package.cost:.0f} s") if package.cost > 600 else ("ok", None)),
            record=True, seconds=package.cost, cpu_seconds=package.cost, peak_memory_bytes=10**8, bytes=package.size,
        )
        for package in part
    )  # fmt: skip
    (directory / STATUSES).write_bytes(b"".join(msgspec.json.encode(status) + b"\n" for status in statuses))
