"""A scan while it runs and afterwards: how far each shard is, at which speed, and how the packages ended."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from pypi_scan.divide import DIVISION, Division, ShardPlan, read_division
from pypi_scan.fleet import Fleet, FleetShard
from pypi_scan.fleet_file import FLEET
from pypi_scan.manifest import Counts
from pypi_scan.monitor.file_cache import FileCache
from pypi_scan.monitor.outcomes import Outcomes, dataset_outcomes, shard_outcomes
from pypi_scan.monitor.scan_list import PlannedScan
from pypi_scan.monitor.timeline import Timeline, timeline
from pypi_scan.plan import Plan
from pypi_scan.scan_progress import ShardProgress, read_progress

_READ_SECONDS = 0.1  # that a page waits for what no page has shown before
_FRESH_SECONDS = 60.0  # after which a rate that was noted tells nothing of now
_SETTLED_SECONDS = 20.0  # of scanning, before which the time left would be a guess


class ShardState(StrEnum):
    """How far a shard is."""

    WAITING = "waiting"
    PREFETCHING = "prefetching"
    FETCHED = "fetched"
    SCANNING = "scanning"
    SCANNED = "scanned"
    COLLECTED = "collected"


class ShardView(NamedTuple):
    """A shard as the division made it, `position` counted from 0, and how far it is.

    `done` packages of it were scanned; `progress` is of the step that it is at, if that was noted.
    """

    position: int
    plan: ShardPlan
    state: ShardState
    worker: str | None
    failed_on: Sequence[str]
    progress: ShardProgress | None
    done: int


class ScanView(NamedTuple):
    """A scan. Before it is divided there are no shards, before it is packed no counts.

    `rate` are packages scanned a second at this moment, `average` since the first, `seconds_left` until the last shard
    is scanned, None while that is unknown.
    """

    plan: Plan
    counts: Counts | None
    shards: Sequence[ShardView]
    timeline: Timeline
    outcomes: Outcomes
    rate: float
    average: float | None
    seconds_left: float | None

    @property
    def packages(self) -> int:
        """All packages of all shards."""
        return sum(shard.plan.packages for shard in self.shards)

    @property
    def done(self) -> int:
        """Those of them that were scanned."""
        return sum(shard.done for shard in self.shards)

    @property
    def known(self) -> int:
        """Those of them whose records were there already."""
        return sum(shard.plan.known for shard in self.shards)

    @property
    def states(self) -> dict[ShardState, int]:
        """How many shards are how far."""
        found = Counter(shard.state for shard in self.shards)
        return {state: found[state] for state in ShardState if found[state]}


def scan_view(scan_dir: Path, scan: PlannedScan, now: float) -> ScanView:
    """Return how the scan in a directory stands at `now`, in seconds since the epoch."""
    division = _division(scan_dir)
    fleet, progress = _fleet(scan_dir), read_progress(scan_dir)
    results = scan_dir / "results"
    collected = {path.name for path in results.iterdir()} if results.is_dir() else set()
    plans = division.shards if division else []
    shards = [_shard(index, plan, fleet, progress, collected) for index, plan in enumerate(plans)]
    drawn = timeline(fleet, progress, now)
    average, seconds_left = _speed(shards, drawn)
    return ScanView(
        plan=scan.plan,
        counts=scan.counts,
        shards=shards,
        timeline=drawn,
        outcomes=_outcomes(scan_dir, scan, [results / shard.plan.id for shard in shards if shard.plan.id in collected]),
        rate=_rate(shards, now),
        average=average,
        seconds_left=seconds_left,
    )


def _shard(
    index: int, plan: ShardPlan, fleet: Fleet, progress: Mapping[str, ShardProgress], collected: set[str]
) -> ShardView:
    shard = fleet.shards.get(plan.id, FleetShard(plan.cost))
    noted = progress.get(plan.id)
    if noted and noted.worker != shard.worker:
        noted = None  # of a worker that the shard was taken away from
    if plan.id in collected:
        state = ShardState.COLLECTED
    elif shard.worker is None:
        state = ShardState.WAITING
    elif shard.scanned:
        state = ShardState.SCANNED
    elif shard.started is not None:
        state = ShardState.SCANNING
    else:
        state = ShardState.FETCHED if shard.fetched else ShardState.PREFETCHING
    done = 0
    if state in (ShardState.COLLECTED, ShardState.SCANNED):
        done = plan.packages
    elif state is ShardState.SCANNING and noted and noted.step != "prefetch":
        done = min(noted.done, plan.packages)
    return ShardView(index, plan, state, shard.worker, shard.failed_on, noted, done)


def _rate(shards: Sequence[ShardView], now: float) -> float:
    scanning = (shard.progress for shard in shards if shard.state is ShardState.SCANNING)
    return sum(noted.rate or 0.0 for noted in scanning if noted and now - noted.at < _FRESH_SECONDS)


def _speed(shards: Sequence[ShardView], drawn: Timeline) -> tuple[float | None, float | None]:
    """Return the packages scanned a second on average, and the seconds left: what is costly takes its share of time."""
    if drawn.start is None or drawn.end is None or drawn.end <= drawn.start:
        return None, None
    seconds = drawn.end - drawn.start
    average = sum(shard.done for shard in shards) / seconds
    if all(shard.done == shard.plan.packages for shard in shards):
        return average, 0.0
    done = sum(shard.plan.cost * shard.done / shard.plan.packages for shard in shards if shard.plan.packages)
    left = sum(shard.plan.cost for shard in shards) - done
    known = done > 0 and seconds >= _SETTLED_SECONDS
    return average, left * seconds / done if known else None


def _outcomes(scan_dir: Path, scan: PlannedScan, results: Sequence[Path]) -> Outcomes:
    if scan.counts:
        return dataset_outcomes(scan_dir / "dataset", scan.counts.by_status, _READ_SECONDS)
    return shard_outcomes(results, _READ_SECONDS)


def _division(scan_dir: Path) -> Division | None:
    try:
        return _divisions.get(scan_dir / DIVISION)
    except FileNotFoundError:
        return None


def _fleet(scan_dir: Path) -> Fleet:
    """Return the fleet as it is, without having those that decide by it wait."""
    try:
        return msgspec.json.decode((scan_dir / FLEET).read_bytes(), type=Fleet)
    except FileNotFoundError:
        return Fleet()


_divisions = FileCache(lambda path: read_division(path.parent), size=20)
