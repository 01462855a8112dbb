"""A world that is kept busy and hurt at random for a while; `make soak MINUTES=30` runs this file.

Every minute upstream has a new release and a sync is triggered, some answers of upstream fail, every five minutes
everything is scanned, and something is killed about twice a minute.
"""

import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from demo.processes import DemoError
from demo.static_server import Response
from demo.upstream import publish_release

from .aftermath import json_lines
from .faulty_world import FaultyWorld, Run, faulty_world
from .report import PROJECT
from .services import kill_all, processes, resident_bytes

RESULT = PROJECT / "bench" / "results" / "soak.json"
_MINUTES = float(os.environ.get("MINUTES", "30"))
_SEED = 20261101
_SYNC_SECONDS, _SCAN_SECONDS, _KILL_SECONDS, _SAMPLE_SECONDS = 60.0, 300.0, 30.0, 10.0
_UPSTREAM_ERRORS = 0.02  # of its answers
_RELEASED = ("demo-greeting", "demo-cli", "demo-table", "demo-text", "demo-units", "demo-config")
# Datasets, logs, WAL, release files: what each scan, sync and release adds, by its path in the world.
_MEANT_TO_GROW = {"cdn", "store", "scans", "logs", "airflow", "upstream", "postgres", "mirror/web/packages"}

pytestmark = pytest.mark.world


@dataclass(frozen=True)
class Sample:
    """What the world uses at one moment."""

    memory_bytes: int
    disk_bytes: int


@dataclass
class Soak:
    """What has happened so far."""

    where: FaultyWorld
    chance: random.Random
    releases: int = 0
    syncs: int = 0
    kills: int = 0

    def answer(self, path: str, response: Response) -> Response:
        """Let some answers of upstream fail."""
        fails = self.chance.random() < _UPSTREAM_ERRORS
        return Response(HTTPStatus.BAD_GATEWAY) if fails else response

    def sync(self) -> None:
        """Release something upstream, and sync."""
        name = self.chance.choice(_RELEASED)
        now = datetime.now(UTC).replace(microsecond=0)
        publish_release(self.where.world.root / "upstream", name, f"91.{self.releases}", uploaded=now)
        self.releases += 1
        try:
            self.where.airflow.trigger("pypi_sync")
            self.syncs += 1
        except (httpx.TransportError, DemoError):
            print("  the API server was away: no sync this minute", flush=True)

    def kill(self) -> None:
        """Kill a service, or a job on the worker."""
        services = [service for service in self.where.services if service.name != "cdn" and service.pid]
        jobs = self.where.on_worker(".py")
        victim = self.chance.choice([*services, *([None] if jobs else [])])
        if victim:
            victim.kill()
        else:
            kill_all([self.chance.choice(jobs)])
        self.kills += 1
        print(f"  killed {victim.name if victim else 'a job on the worker'}", flush=True)

    def sample(self) -> Sample:
        """Look at what is used now."""
        root = self.where.world.root
        used = _size(root, {root / name for name in _MEANT_TO_GROW})
        return Sample(sum(map(resident_bytes, processes({"FAULTS_SERVICE": f"{self.where.name}:"}))), used)


@pytest.fixture
def soak() -> Iterator[Soak]:
    """A world that is about to be soaked."""
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)
        with faulty_world(Path(directory) / "world") as where:
            yield Soak(where, random.Random(_SEED))


def test_soak(soak: Soak) -> None:
    runs: list[Run] = []
    samples: list[Sample] = []
    start = time.monotonic()
    due = {"sync": 0.0, "scan": 0.0, "kill": _KILL_SECONDS, "sample": 0.0}
    soak.where.world.upstream.tamper = soak.answer
    while (passed := time.monotonic() - start) < _MINUTES * 60:
        if passed >= due["scan"] and all(run.state() in ("success", "failed") for run in runs):
            _clear_if_failed(runs)
            runs.append(soak.where.scan(as_of=None, mode="reuse"))
            due["scan"] = passed + _SCAN_SECONDS
        if passed >= due["sync"]:
            soak.sync()
            due["sync"] += _SYNC_SECONDS
        if passed >= due["kill"]:
            soak.kill()
            due["kill"] = passed + soak.chance.expovariate(1 / _KILL_SECONDS)
        if passed >= due["sample"]:
            samples.append(soak.sample())
            used = asdict(samples[-1])
            print(f"{passed:6.0f} s  {soak.syncs} syncs, {len(runs)} scans, {soak.kills} kills, {used}", flush=True)
            due["sample"] += _SAMPLE_SECONDS
        time.sleep(0.2)
    soak.where.world.upstream.tamper = None
    for run in runs:
        if run.until_ended() == "failed":
            run.clear_failed()
            assert run.until_ended() == "success"
    lost, duplicated = _count(soak.where)
    summary = {
        "minutes": _MINUTES,
        "syncs": soak.syncs,
        "scans": len(runs),
        "kills": soak.kills,
        "lost": lost,
        "duplicated": duplicated,
        "memory_growth": _growth([sample.memory_bytes for sample in samples]),
        "disk_growth": _growth([sample.disk_bytes for sample in samples]),
    }
    result = {
        "not_counted_on_disk": sorted(_MEANT_TO_GROW),
        "samples": [asdict(sample) for sample in samples],
        "seed": _SEED,
        "summary": summary,
    }
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(summary)
    assert (lost, duplicated) == (0, 0)


def _clear_if_failed(runs: list[Run]) -> None:
    if runs and runs[-1].state() == "failed":
        runs[-1].clear_failed()
        runs[-1].until_ended()


def _count(where: FaultyWorld) -> tuple[int, int]:
    """Return how many packages have no status or no record that they should have, and how many have more than one."""
    lost = duplicated = 0
    for directory in (where.world.root / "cdn" / "pypi_datasets").glob("2*"):
        for wanted_file, found in (
            ("input_packages.txt", Counter(line["name"] for line in json_lines(directory / "packages.jsonl.zst"))),
            ("package_list.txt", Counter(line["pypi"]["name"] for line in json_lines(directory / "dataset.zst"))),
        ):
            wanted = (directory / wanted_file).read_text().split()
            lost += sum(name not in found for name in wanted)
            duplicated += sum(number > 1 for number in found.values())
    return lost, duplicated


def _growth(values: list[int]) -> float:
    """Return the mean of the last third over that of the first."""
    third = max(1, len(values) // 3)
    return round(sum(values[-third:]) / max(1, sum(values[:third])), 3)


def _size(path: Path, left_out: set[Path]) -> int:
    """Return the bytes on disk of a file, or of all files in a directory but for those `left_out`."""
    if path in left_out:
        return 0
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(below, left_out) for below in path.iterdir())
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0  # it was removed meanwhile
