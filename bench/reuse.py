"""Measure what a scan costs that re-uses the records of an earlier one, and whether it gives the same dataset.

Scans the corpus in full, through plan, division, the worker's real programs, acceptance and packing. Then every tenth
package, by size, gets another release (the same files, and one more source file in a wheel), and what Aura is told of
downloads and dependents changes for all. That is scanned with re-use, and once more in full, in other shards.

Writes bench/results/reuse.json and, from it, docs/benchmarks.md. What is downloaded lies below .bench/, and is used
again.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import corpus
import measure
import msgspec
import page
from arguments import positive, positive_int
from scan import ENGINE, HERE, PROJECT, PYTHON, build_world
from world import Release, World

from pypi_scan.accept import accept_results
from pypi_scan.divide import divide_scan
from pypi_scan.mirror import Mirror
from pypi_scan.pack import pack_editions, pack_scan
from pypi_scan.plan import plan_scan
from pypi_scan.record_store import RecordStore
from pypi_scan.results import Scanner, read_statuses
from pypi_scan.scan_request import ScanRequest

RESULT = HERE / "results" / "reuse.json"
MOST_CPU_SHARE = 0.15
CHANGED = 10  # one in so many packages has another release in the second scan
NEW_VERSION = "9999"


@dataclass(frozen=True)
class Leg:
    """What a scan took: CPU seconds of scan_shard.py, with all its processes, and of the control host.

    `packages` are the CPU seconds of each package in them; `sha256` is of dataset.zst.
    """

    scanner_cpu_seconds: float
    scanner_wall_seconds: float
    control_cpu_seconds: float
    shards: int
    known: int
    by_status: dict[str, int]
    packages: dict[str, float]
    sha256: str


class Pipeline:
    """Scans `world` into `directory`, keeps records there, and tells what each scan took."""

    def __init__(self, world: World, directory: Path, timeout: float) -> None:
        self._world = world
        self._directory = directory
        self._timeout = f"--timeout={timeout:g}"

    def scan(self, run_id: str, *, reuse: bool, shards: int) -> Leg:
        """Scan everything in so many shards."""
        began = time.process_time()
        plan = plan_scan(Mirror(self._world.root), ScanRequest(datetime.now(UTC)), self._directory / "scans", run_id)
        directory = self._directory / "scans" / plan.scan_id
        described = subprocess.run(
            [str(PYTHON), str(ENGINE.parent / "describe_scanner.py"), self._timeout], check=True, capture_output=True
        )
        scanner = msgspec.json.decode(described.stdout, type=Scanner)
        with RecordStore.in_directory(self._directory) as store:
            division = divide_scan(directory, scanner, records=store if reuse else None, shards=shards)
            legs = []
            for shard in division.shard_ids:
                file, results = directory / "shards" / f"{shard}.jsonl.zst", directory / "results" / shard
                legs.append(self._scan_shard(file, results))
                accept_results(file, results, scanner, store, keep_secrets=True)
        pack_editions(directory)
        counts = pack_scan(directory, "https://cdn.example").counts
        statuses = [status for shard in division.shard_ids for status in read_statuses(directory / "results" / shard)]
        return Leg(
            scanner_cpu_seconds=sum(leg.cpu_seconds for leg in legs),
            scanner_wall_seconds=sum(leg.wall_seconds for leg in legs),
            control_cpu_seconds=time.process_time() - began,
            shards=len(legs),
            known=division.known,
            by_status=counts.by_status,
            packages={status.name: status.cpu_seconds for status in statuses if status.status != "reused"},
            sha256=hashlib.sha256((directory / "dataset" / "dataset.zst").read_bytes()).hexdigest(),
        )

    def _scan_shard(self, shard: Path, results: Path) -> measure.Measured:
        """Prefetch a shard, not measured, and scan it."""
        cache = results.parent / "cache"
        results.mkdir(parents=True)
        self._run("prefetch.py", results, f"--shard={shard}", f"--source={self._world.web}", f"--cache={cache}")
        given = (f"--shard={shard}", f"--cache={cache}", f"--dataset={self._world.dataset}", self._timeout)
        took = self._run("scan_shard.py", results, f"--output={results}", *given)
        shutil.rmtree(cache)
        return took

    def _run(self, program: str, directory: Path, *options: str) -> measure.Measured:
        log = self._directory / "log.txt"
        took = measure.run([str(PYTHON), str(ENGINE.parent / program), *options], {}, log, directory)
        if took.exit_code:
            raise corpus.CorpusError(f"{program} failed: {log.read_text().splitlines()[-1]}")
        return took


def change(world: World, releases: list[Release], directory: Path) -> list[str]:
    """Give every tenth release by size that has a wheel a successor, and all other downloads and dependents.

    Returns the names of the packages that have another release.
    """
    with_wheel = [one for one in releases if any(_is_wheel(file["path"]) for file in one.files)]
    by_size = sorted(with_wheel, key=lambda one: (one.size, one.name))
    count = max(1, round(len(releases) / CHANGED))
    step = len(by_size) / count
    changed = [by_size[int((number + 0.5) * step)] for number in range(count)]
    for release in changed:
        files = []
        for number, file in enumerate(release.files):
            copy = directory / release.name / Path(file["path"]).name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(world.web / file["path"], copy)
            if _is_wheel(file["path"]):
                with zipfile.ZipFile(copy, "a") as archive:
                    archive.writestr(f"added_{number}.py", "import os\n\nprint(os.environ)\n")
            files.append(copy)
        world.add(release.name, NEW_VERSION, files)
    world.write_dataset(releases[::-1])
    return [release.name for release in changed]


def _is_wheel(path: str) -> bool:
    return path.endswith(".whl")


def summarise(changed: list[str], reuse: Leg, full: Leg) -> dict[str, Any]:
    """Return the flat summary."""
    return {
        "packages": len(full.packages),
        "changed": len(changed),
        "changed_cpu_share": round(sum(full.packages[name] for name in changed) / full.scanner_cpu_seconds, 3),
        "cpu_share": round(reuse.scanner_cpu_seconds / full.scanner_cpu_seconds, 3),
        "identical": reuse.sha256 == full.sha256,
        "reuse_cpu_seconds": round(reuse.scanner_cpu_seconds, 1),
        "full_cpu_seconds": round(full.scanner_cpu_seconds, 1),
        "reuse_wall_seconds": round(reuse.scanner_wall_seconds, 1),
        "full_wall_seconds": round(full.scanner_wall_seconds, 1),
        "reuse_control_cpu_seconds": round(reuse.control_cpu_seconds, 1),
        "full_control_cpu_seconds": round(full.control_cpu_seconds, 1),
    }


def main() -> None:
    """Run the benchmark; exit code 1 if the datasets differ or the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, default=HERE / "corpus.txt", metavar="FILE", help="name==version lines")
    parser.add_argument("--packages", type=positive_int, metavar="N", help="only the first N of the corpus")
    parser.add_argument("--timeout", type=positive, default=900, metavar="S", help="seconds a package (default: 900)")
    parser.add_argument("--cache", type=Path, default=PROJECT / ".bench", metavar="DIR", help="default: .bench")
    arguments = parser.parse_args()
    cache: Path = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n", encoding="utf-8")  # other people's code: not for git, nor for linters
    try:
        wanted = corpus.read(arguments.corpus)[: arguments.packages]
        with tempfile.TemporaryDirectory(prefix="reuse-", dir=cache) as directory:
            world, releases = build_world(wanted, cache, Path(directory) / "mirror")
            pipeline = Pipeline(world, Path(directory), arguments.timeout)
            legs = {"first": pipeline.scan("first", reuse=True, shards=1)}
            changed = change(world, releases, Path(directory) / "changed")
            legs["reuse"] = pipeline.scan("reuse", reuse=True, shards=1)
            legs["full"] = pipeline.scan("full", reuse=False, shards=2)
    except (corpus.CorpusError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    result = {
        "summary": summarise(changed, legs["reuse"], legs["full"]),
        "settings": {
            "cores": len(os.sched_getaffinity(0)),
            "timeout": arguments.timeout,
            "machine": platform.machine(),
            "corpus": arguments.corpus.name,
        },
        "legs": {name: asdict(leg) for name, leg in legs.items()},
        "changed": changed,
    }
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    written = page.write()
    for key, value in result["summary"].items():
        print(f"{key:26} {value}")
    print(f"written: {RESULT.relative_to(PROJECT)}, {written.relative_to(PROJECT)}")
    if not result["summary"]["identical"] or result["summary"]["cpu_share"] > MOST_CPU_SHARE:
        sys.exit(f"missed: the datasets differ, or cpu_share is above {MOST_CPU_SHARE}")


if __name__ == "__main__":
    main()
