"""What each worker did when, so that idle time is seen."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pypi_scan.fleet import Fleet, FleetWorker
from pypi_scan.scan_progress import ShardProgress


class Bar(NamedTuple):
    """The time, in seconds since the epoch, in which a worker scanned a shard; `running` if it still does."""

    shard: str
    start: float
    end: float
    running: bool


class WorkerRow(NamedTuple):
    """A worker and its bars, which do not overlap; `idle` seconds of `seconds` since its first shard it had none."""

    name: str
    worker: FleetWorker
    bars: Sequence[Bar]
    seconds: float
    idle: float


class Timeline(NamedTuple):
    """The rows of all workers, from the first scan of a shard to the last; `start` and `end` are None before."""

    start: float | None
    end: float | None
    rows: Sequence[WorkerRow]


def timeline(fleet: Fleet, progress: Mapping[str, ShardProgress], now: float) -> Timeline:
    """Return what the workers of a fleet did until `now`.

    A shard is scanned from when its job was submitted, or the shard before it was done, until its last progress was
    noted. A worker that gets shards is idle too while others still scan; one that gets none only until its last shard.
    """
    bars: dict[str, list[Bar]] = {name: [] for name in fleet.workers}
    for name, shard in fleet.shards.items():
        if shard.worker is None or shard.started is None:
            continue
        noted = progress.get(name)
        end = now if not shard.scanned else noted.at if noted else shard.started
        bars.setdefault(shard.worker, []).append(Bar(name, shard.started, max(end, shard.started), not shard.scanned))
    ends = [bar.end for found in bars.values() for bar in found]
    starts = [bar.start for found in bars.values() for bar in found]
    if not starts:
        return Timeline(None, None, [_row(name, worker, [], None) for name, worker in fleet.workers.items()])
    over = all(shard.scanned for shard in fleet.shards.values())
    end = max(ends) if over else now
    rows = [_row(name, worker, bars[name], end) for name, worker in fleet.workers.items()]
    return Timeline(min(starts), end, rows)


def _row(name: str, worker: FleetWorker, bars: list[Bar], end: float | None) -> WorkerRow:
    if not bars or end is None:
        return WorkerRow(name, worker, [], 0.0, 0.0)
    bars.sort(key=lambda bar: (bar.start, bar.end))
    apart = [bars[0]]
    for bar in bars[1:]:
        start = max(bar.start, apart[-1].end)
        apart.append(bar._replace(start=start, end=max(bar.end, start)))
    until = end if worker.usable else apart[-1].end
    idle = sum(later.start - earlier.end for earlier, later in pairwise(apart)) + max(until - apart[-1].end, 0.0)
    return WorkerRow(name, worker, apart, max(until - apart[0].start, 0.0), idle)
