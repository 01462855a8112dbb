"""Worker nodes with a virtual clock, on which the project's own `Fleet` has shards fetched and scanned.

What is simulated is what takes the time: files that workers fetch over a network they share, packages on the cores of
a worker, those that may be the costliest first, the next shard when the one before has no package left to begin,
Airflow between the tasks of a shard, and workers that die. Times are seconds, sizes bytes.
"""

import bisect
import functools
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pypi_scan.fleet import Capacity, Fleet


@dataclass(frozen=True)
class Assumptions:
    """What is not simulated but assumed.

    `task_seconds` pass from the end of a task to the start of the next of its shard, `notice_seconds` until a job on a
    worker that died has failed, `start_seconds` while a scan loads Aura. The mirror sends `mirror_rate` bytes a second
    in all, a worker takes `worker_rate` at most; a file takes as long as `file_bytes` more of them.
    """

    task_seconds: float = 10.0
    notice_seconds: float = 120.0
    start_seconds: float = 3.0
    mirror_rate: float = 2.75e9  # 25 Gbit/s
    worker_rate: float = 1.1e9  # 10 Gbit/s
    file_bytes: float = 1e5


@dataclass(frozen=True)
class Node:
    """A worker: what the fleet is told of it, how fast each core really is, and when it dies, if it does."""

    name: str
    capacity: Capacity
    core_speed: float = 1.0
    dies: float = float("inf")

    @property
    def speed(self) -> float:
        """CPU seconds that it does in a second."""
        return self.capacity.cores * self.core_speed


@dataclass(frozen=True)
class Shard:
    """A shard: its predicted cost, the `size` and number of its files, what each package may cost, and does."""

    name: str
    predicted: float
    size: int
    files: int
    packages: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Ran:
    """How it went.

    After `seconds` no shard was left on any worker; `disk_bytes` is the most that lay on one of them. `idle` are
    the core-seconds that passed without a package to scan before the last scan ended.
    """

    seconds: float
    disk_bytes: int
    scans: int
    idle: float


@dataclass
class _Running:
    """What a node has: shards to fetch, one after the other, and shards to scan, one after the other."""

    node: Node
    alive: bool = True
    to_fetch: deque[str] = field(default_factory=deque)
    left: float = 0.0  # bytes of the first of them
    to_scan: deque[str] = field(default_factory=deque)
    disk: int = 0
    free: list[float] = field(default_factory=list)  # when each core is


class Cluster:
    """The `nodes`, of which each holds at most `places` shards, and the `shards` of a scan."""

    def __init__(self, nodes: Sequence[Node], shards: Sequence[Shard], places: int, assumed: Assumptions) -> None:
        self._assumed = assumed
        self._shards = {shard.name: shard for shard in shards}
        self._running = {node.name: _Running(node, free=[0.0] * node.capacity.cores) for node in nodes}
        self._fleet = Fleet(places)
        for node in nodes:
            self._fleet.admit(node.name, node.capacity)
        self._fleet.set_shards({shard.name: shard.predicted for shard in shards})
        self._waiting = list(self._shards)
        self._now = 0.0
        self._fetched_until = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._fetching = 0  # counts what changes the rates, so that a former prediction is known as such
        self._disk = 0
        self._scans = 0
        self._busy = 0.0
        self._last_scan = 0.0

    def run(self) -> Ran:
        """Let the clock run until nothing of any shard is on a worker."""
        for running in self._running.values():
            if running.node.dies < float("inf"):
                self._at(running.node.dies, self._die, running)
        self._after(self._assumed.task_seconds, self._offer)
        while self._events and not all(shard.done for shard in self._fleet.shards.values()):
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        if not all(shard.done for shard in self._fleet.shards.values()):
            raise RuntimeError("nothing more happens, and shards are left")
        given = sum(
            min(self._last_scan, running.node.dies) * running.node.capacity.cores for running in self._running.values()
        )
        return Ran(self._now, self._disk, self._scans, given - self._busy)

    def _offer(self) -> None:
        """Let the shards that wait ask the fleet for a worker, in order."""
        for name in list(self._waiting):
            worker = self._fleet.claim(name, self._now)
            if worker is not None:
                self._waiting.remove(name)
                self._after(self._assumed.task_seconds, self._fetch, name, worker)
            elif not self._fleet.shards[name].failed_on:
                break  # the others would hear the same

    def _fetch(self, name: str, worker: str) -> None:
        running = self._running[worker]
        if not running.alive:
            self._after(self._assumed.notice_seconds, self._strike, name)
            return
        running.disk += self._shards[name].size
        self._disk = max(self._disk, running.disk)
        self._progress()
        running.to_fetch.append(name)
        if len(running.to_fetch) == 1:
            running.left = self._transfer(name)
        self._next_fetched()

    def _transfer(self, name: str) -> float:
        return self._shards[name].size + self._shards[name].files * self._assumed.file_bytes

    def _progress(self) -> None:
        """Let what is being fetched come in up to now: all alike share what the mirror can send."""
        fetching = [running for running in self._running.values() if running.to_fetch]
        came = (self._now - self._fetched_until) * self._rate(len(fetching))
        for running in fetching:
            running.left = max(running.left - came, 0.0)
        self._fetched_until = self._now

    def _rate(self, fetching: int) -> float:
        return min(self._assumed.worker_rate, self._assumed.mirror_rate / max(fetching, 1))

    def _next_fetched(self) -> None:
        """Wait for the end of the fetch that ends first, as things are."""
        self._fetching += 1
        fetching = [running for running in self._running.values() if running.to_fetch]
        if fetching:
            first = min(fetching, key=lambda running: running.left)
            self._after(first.left / self._rate(len(fetching)), self._fetched, first, self._fetching)

    def _fetched(self, running: _Running, prediction: int) -> None:
        if prediction != self._fetching:
            return
        self._progress()
        name = running.to_fetch.popleft()
        if running.to_fetch:
            running.left = self._transfer(running.to_fetch[0])
        self._fleet.fetched(name)
        self._after(self._assumed.task_seconds, self._started, name, running)
        self._next_fetched()

    def _started(self, name: str, running: _Running) -> None:
        if not running.alive:
            self._after(self._assumed.notice_seconds, self._strike, name)
            return
        self._fleet.started(name, self._now)
        running.to_scan.append(name)
        self._scans += 1
        node, shard = running.node, self._shards[name]
        begin = self._now + self._assumed.start_seconds
        end = begin
        for _, cost in sorted(shard.packages, key=lambda package: -package[0]):
            finished = max(running.free[0], begin) + cost / node.core_speed
            heapq.heapreplace(running.free, finished)
            end = max(end, finished)
        self._at(end, self._scanned, shard, running)

    def _scanned(self, shard: Shard, running: _Running) -> None:
        if not running.alive:
            return
        running.to_scan.remove(shard.name)
        self._last_scan = self._now
        self._busy += sum(cost for _, cost in shard.packages) / running.node.core_speed
        self._after(self._assumed.task_seconds, self._noticed, shard, running)

    def _noticed(self, shard: Shard, running: _Running) -> None:
        if not running.alive:
            self._after(self._assumed.notice_seconds, self._strike, shard.name)
            return
        self._fleet.scanned(shard.name, self._now)
        self._after(2 * self._assumed.task_seconds, self._evicted, shard, running)

    def _evicted(self, shard: Shard, running: _Running) -> None:
        """The results were collected and the files removed."""
        if not running.alive:
            self._after(self._assumed.notice_seconds, self._strike, shard.name)
            return
        running.disk -= shard.size
        self._fleet.done(shard.name)
        self._offer()

    def _die(self, running: _Running) -> None:
        self._progress()
        running.alive = False
        for name in (*running.to_fetch, *running.to_scan):
            self._after(self._assumed.notice_seconds, self._strike, name)
        running.to_fetch.clear()
        running.to_scan.clear()
        self._next_fetched()

    def _strike(self, name: str) -> None:
        worker = self._fleet.shards[name].worker
        if self._fleet.strike(name, "it no longer answers", begin_again=True):
            bisect.insort(self._waiting, name)
            self._offer()
        else:
            assert worker is not None
            self._after(self._assumed.task_seconds, self._fetch, name, worker)  # tried again where it was

    def _after[**P](self, seconds: float, happen: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._at(self._now + seconds, happen, *args, **kwargs)

    def _at[**P](self, time: float, happen: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        heapq.heappush(self._events, (time, next(self._order), functools.partial(happen, *args, **kwargs)))


def lower_bound(cost: float, nodes: Iterable[Node]) -> float:
    """Return the seconds that `cost` CPU seconds take if every core works until the end, or until its node dies."""
    left, now = cost, 0.0
    alive = sorted(nodes, key=lambda node: node.dies)
    while alive:
        speed = sum(node.speed for node in alive)
        until = alive[0].dies
        if left <= (until - now) * speed:
            return now + left / speed
        left -= (until - now) * speed
        now = until
        alive.pop(0)
    raise ValueError(f"{left:.0f} CPU seconds are left when the last node has died")
