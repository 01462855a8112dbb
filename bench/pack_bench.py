"""Packing against the least that one would do by hand: ``zstd -T2 -3`` of all records, then ``md5sum``.

Makes the accepted results of a scan of some GB of synthetic records (they have the shape of real ones: mostly imports
and statistics of files), then twice runs what the tasks `editions` and `pack` run, and the baseline on the same
records, unpacked. Workers have compressed the records, so `pack` copies, indexes, hashes and signs; what the editions
for SQL take is told beside it.

    make bench-pack GB=5
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import batched
from pathlib import Path
from typing import Any

import measure
import msgspec
import zstandard
from arguments import positive

from pypi_scan.accept import accept_results
from pypi_scan.divide import Division, ShardPlan
from pypi_scan.plan import Plan
from pypi_scan.record_store import RecordStore
from pypi_scan.results import Scanner

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "pack.json"
SHARDS = 40
_BLOCK = 128  # packages
_RECORD = 40_000  # bytes, roughly
_MODULES = ["os", "re", "sys", "json", "typing", "logging", "subprocess", "collections.abc", "numpy", "requests"]
_SCANNER = Scanner("aura-security", "2.1", "3.11.9", {"secrets": "redacted"})
_PROGRAMS = {
    "editions": "import sys, pathlib; from pypi_scan.pack import pack_editions; "
    "pack_editions(pathlib.Path(sys.argv[1]))",
    "pack": "import sys, pathlib; from pypi_scan.pack import pack_scan; from pypi_scan.signing import SigningKey; "
    "key = SigningKey(pathlib.Path(sys.argv[2]).read_text()); "
    "pack_scan(pathlib.Path(sys.argv[1]), 'https://cdn.example', key=key)",
}


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gb", type=positive, default=5.0, help="10^9 bytes of records")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "pack", help="where to work; is removed")
    arguments = parser.parse_args()
    work: Path = arguments.work
    shutil.rmtree(work, ignore_errors=True)
    scan = work / "2026-11-01"
    print(f"making {arguments.gb:g} GB of records in {SHARDS} shards", flush=True)
    size = make_scan(scan, int(arguments.gb * 1e9))
    subprocess.run([sys.executable, "-m", "pypi_scan.signing", "new-key", str(work)], check=True)

    legs: dict[str, measure.Measured] = {}
    digests = []
    for time in ("first", "second"):
        for name, program in _PROGRAMS.items():
            legs[f"{time} {name}"] = run([sys.executable, "-c", program, str(scan), str(work / "minisign.key")], work)
        digests.append({path.name: sha256(path) for path in sorted((scan / "dataset").iterdir())})
    plain = work / "records.jsonl"
    with plain.open("wb") as file:
        subprocess.run(["zstd", "-dcq", str(scan / "dataset" / "dataset.zst")], stdout=file, check=True)
    legs["zstd"] = run(["zstd", "-q", "-T2", "-3", str(plain), "-o", str(work / "records.zst")], work)
    legs["md5sum"] = run(["md5sum", str(plain)], work)
    baseline = legs["zstd"].wall_seconds + legs["md5sum"].wall_seconds
    packed = min(legs["first pack"].wall_seconds, legs["second pack"].wall_seconds)
    editions = min(legs["first editions"].wall_seconds, legs["second editions"].wall_seconds)
    result = {
        "summary": {
            "gb": round(size / 1e9, 2),
            "ratio_to_zstd_md5": round(baseline / packed, 2),
            "ratio_with_editions": round(baseline / (packed + editions), 2),
            "peak_mb": round(max(leg.peak_mb for name, leg in legs.items() if name.endswith("pack"))),
            "peak_mb_editions": round(max(leg.peak_mb for name, leg in legs.items() if name.endswith("editions"))),
            "identical": digests[0] == digests[1],
        },
        "legs": {name: msgspec.to_builtins(leg) for name, leg in legs.items()},
        "files": {path.name: path.stat().st_size for path in sorted((scan / "dataset").iterdir())},
        "cores": os.cpu_count(),
    }
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(work)
    print(json.dumps(result["summary"]))


def run(command: list[str], work: Path) -> measure.Measured:
    """Run a command, measured; ends the benchmark if it fails."""
    log = work / "log.txt"
    leg = measure.run(command, {}, log, work)
    if leg.exit_code:
        sys.exit(f"{command[0]} failed: {log.read_text(errors='replace')[-2000:]}")
    print(f"{Path(command[0]).name}: {leg.wall_seconds:.1f} s, {leg.peak_mb:.0f} MB", flush=True)
    return leg


def make_scan(scan: Path, total: int) -> int:
    """Write the plan and accepted results of a scan with `total` bytes of records; return how many there are."""
    (scan / "shards").mkdir(parents=True)
    names = [f"package-{number:07}" for number in range(total // _RECORD)]
    blocks = list(enumerate(batched(names, _BLOCK)))
    plan = Plan(
        scan_id=scan.name, as_of="2026-11-01T00:00:00Z", run_id="bench", partial=False, mirror_serial=1,
        input=len(names), planned=len(names), files=len(names), bytes=0,
    )  # fmt: skip
    (scan / "plan.json").write_bytes(msgspec.json.encode(plan))
    parts = [blocks[at::SHARDS] for at in range(SHARDS)]
    shards = [
        ShardPlan(f"{number:04}", 0.0, sum(len(names) for _, names in part), 0, 0)
        for number, part in enumerate(parts, start=1)
    ]
    division = Division(_SCANNER, shards, 0.0, len(names), 0, 0)
    (scan / "division.json").write_bytes(msgspec.json.encode(division))
    (scan / "input_packages.txt").write_text("".join(f"{name}\n" for name in names), encoding="ascii")
    (scan / "unscannable.jsonl").write_bytes(b"")
    with ProcessPoolExecutor(2) as pool:
        return sum(pool.map(make_shard, [scan] * SHARDS, division.shard_ids, parts))


def make_shard(scan: Path, shard: str, blocks: list[tuple[int, tuple[str, ...]]]) -> int:
    """Write a shard and its accepted results; return the bytes of its records."""
    chance = random.Random(shard)  # noqa: S311 - the same bytes every time
    results = scan / "results" / shard
    results.mkdir(parents=True)
    size = 0
    with (
        zstandard.open(scan / "shards" / f"{shard}.jsonl.zst", "wb") as lines,
        (results / "records.jsonl.zst").open("wb") as frames,
        (results / "status.jsonl").open("wb") as statuses,
    ):
        for block, names in blocks:
            records = []
            for name in names:
                path = f"packages/ab/cd/{chance.randbytes(30).hex()}/{name}-1.0-py3-none-any.whl"
                digest = chance.randbytes(32).hex()
                file = {"path": path, "sha256": digest, "size": 1, "upload_time": "2026-01-01T00:00:00Z"}
                entry = {"name": name, "version": "1.0", "files": [file]}
                lines.write(msgspec.json.encode({**entry, "json": {}, "block": block, "cost": 1.0}) + b"\n")
                record = make_record(entry, chance)
                records.append(msgspec.json.encode(record, order="sorted") + b"\n")
                status = {
                    "name": name, "version": "1.0", "status": "ok", "reason": None, "record": True,
                    "detections": len(record["detections"]), "score": record["score"],
                }  # fmt: skip
                statuses.write(msgspec.json.encode(status) + b"\n")
            size += sum(map(len, records))
            frames.write(zstandard.ZstdCompressor(level=3, write_checksum=True).compress(b"".join(records)))
    (results / "known.jsonl").write_bytes(b"")
    (results / "joblog.txt").write_text(
        "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n", encoding="ascii"
    )
    (results / "scanner.json").write_bytes(msgspec.json.encode(_SCANNER))
    with RecordStore.in_directory(scan.parent) as store:
        accept_results(scan / "shards" / f"{shard}.jsonl.zst", results, _SCANNER, store)
    return size


def make_record(entry: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a record of about _RECORD bytes."""
    name, wheel = entry["name"], entry["files"][0]["path"]
    detections = list(make_detections(wheel, chance))
    return {
        "detections": detections,
        "imported_modules": _MODULES,
        "tags": ["file_access"],
        "metadata": {"name": f"mirror://{name}", "uri_input": {"package": name, "package_name": name}},
        "score": sum(detection["score"] for detection in detections),
        "name": f"mirror://{name}",
        "pypi": entry,
    }


def make_detections(wheel: str, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Yield detections as a scan finds them in real packages: one in two an import, two in five a file."""
    size = 0
    while size < _RECORD:
        module = f"pkg/module_{chance.randrange(40)}.py"
        location, line = f"{wheel}${module}", chance.randrange(1, 900)
        kind = chance.random()
        if kind < 0.5:
            imported = chance.choice(_MODULES)
            one = detection("ModuleImport", f"Module '{imported}' import in a source code", location, 0, "unknown")
            one |= {"line": f"import {imported}", "line_no": line, "extra": {"name": imported}}
            one["signature"] = f"module_import#{imported}#{location}:{line}"
        elif kind < 0.9:
            one = detection("FileStats", "Statistics about files scanned by aura", location, 0, "unknown")
            lengths = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "tlsh": 35}
            one["extra"] = {key: chance.randbytes(length).hex() for key, length in lengths.items()}
            one["extra"] |= {"mime": "text/x-python", "size": chance.randrange(10**5)}
            one["signature"] = f"file_stats#{location}"
        else:
            rule = chance.choice(["open_file", "shell_injection", "python_code_execution", "md5_deprecated"])
            one = detection("FunctionCall", f"Found {rule} in a source code", location, 10, "medium")
            one |= {"line": f"{rule}(value_{line}, *args, **kwargs)", "line_no": line, "tags": [rule, "taint_sink"]}
            one |= {"extra": {"function": rule}, "signature": f"ast_pattern#{rule}/{line}#{location}"}
        size += len(json.dumps(one))
        yield one


def detection(kind: str, message: str, location: str, score: int, severity: str) -> dict[str, Any]:
    """Return what all kinds of detections have."""
    return {
        "type": kind, "slug": kind.lower(), "message": message, "location": location, "score": score,
        "severity": severity,
    }  # fmt: skip


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
