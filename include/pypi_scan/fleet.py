"""Which worker scans which shard: decided when a worker has room, not beforehand, so that a slow one gets fewer.

A `Fleet` is what is known of the workers and shards of one scan. It is plain data that decides: nothing here reads a
clock, a file or a connection. Times are in seconds of whatever clock the caller has, costs in predicted CPU seconds.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import msgspec

_ASKS_SECONDS = 60.0  # since it asked last, for which a shard is taken to wait for a worker
_NOTES_SECONDS = 20.0  # after which it is noted that it still asks

STRIKES = 3
"""Failures in a row after which a worker is left out, as long as there is another."""


class NoWorkerError(Exception):
    """No worker is left that could take a shard. The message says why each was left out."""


class Capacity(msgspec.Struct, frozen=True):
    """How many packages a worker scans at a time, and how fast its cores are beside those of other workers."""

    cores: Annotated[int, msgspec.Meta(ge=1)]
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    @property
    def speed(self) -> float:
        """CPU seconds of an average core that it does in a second."""
        return self.cores * self.weight


class FleetWorker(msgspec.Struct):
    """A worker: `drained` gets no more shards, `left_out` says for which reason neither does this one.

    It has scanned shards of a predicted cost of `scanned` in `busy` seconds, the last one until `until`.
    """

    capacity: Capacity
    drained: bool = False
    left_out: str | None = None
    strikes: int = 0
    scanned: float = 0.0
    busy: float = 0.0
    until: float = 0.0

    @property
    def measured(self) -> float | None:
        """The cost it did in a second, if it has scanned a shard."""
        return self.scanned / self.busy if self.busy > 0 else None

    @property
    def usable(self) -> bool:
        """Whether it may be given shards."""
        return not self.drained and self.left_out is None


class FleetShard(msgspec.Struct):
    """A shard: on which worker it is, if any, and how far; `failed_on` are the workers that it was taken away from.

    `asked` is when it was last noted that it waits for one, `scans` are the workers on which its scan was started.
    """

    cost: float
    asked: float | None = None
    worker: str | None = None
    fetched: bool = False
    started: float | None = None
    scanned: bool = False
    done: bool = False
    failed_on: list[str] = []
    scans: list[str] = []


class Fleet(msgspec.Struct):
    """The workers and shards of a scan, by name. A worker has at most `places` shards on its disk."""

    places: int = 1
    workers: dict[str, FleetWorker] = {}
    shards: dict[str, FleetShard] = {}

    def admit(self, worker: str, capacity: Capacity) -> None:
        """Give a worker shards: a new one, or one that is to have another chance."""
        known = self.workers.setdefault(worker, FleetWorker(capacity))
        known.capacity, known.drained, known.left_out, known.strikes = capacity, False, None, 0

    def leave_out(self, worker: str, reason: str) -> None:
        """Give a worker no more shards, as it failed."""
        self.workers.setdefault(worker, FleetWorker(Capacity(1))).left_out = reason

    def drain_all_but(self, listed: Collection[str]) -> None:
        """Give the workers that are not listed no more shards; what they have they finish."""
        for name, worker in self.workers.items():
            worker.drained = name not in listed

    def set_shards(self, costs: Mapping[str, float]) -> None:
        """Take these shards, of none of which anything is done; forget all others."""
        self.shards = {shard: FleetShard(cost) for shard, cost in costs.items()}

    def claim(self, shard: str, now: float) -> str | None:
        """Return the worker that is to have `shard`, which it has from now on; None as long as it is to wait.

        It waits if no worker has room, if a shard before it waits too, and if the worker that has room is so slow that
        others will have done all that is left before it. Raises NoWorkerError if no worker is usable.
        """
        wanted = self.shards[shard]
        if wanted.done:  # cleared, and so begun again
            wanted = self.shards[shard] = FleetShard(wanted.cost, scans=wanted.scans)
        if wanted.worker is None:
            if wanted.asked is None or now - wanted.asked > _NOTES_SECONDS:
                wanted.asked = now
            wanted.worker = self._choose(wanted, now)
        return wanted.worker

    def fetched(self, shard: str) -> None:
        """Note that the files of a shard are on its worker."""
        self.shards[shard].fetched = True

    def started(self, shard: str, now: float) -> None:
        """Note that the scan of a shard was started, or waits on its worker for another one to end."""
        mine, worker = self._placed(shard)
        mine.started = now
        mine.scans.append(worker)

    def scanned(self, shard: str, now: float) -> None:
        """Note that a shard is scanned: its worker is in order, and as fast as it was."""
        mine, name = self._placed(shard)
        worker = self.workers[name]
        if mine.started is not None:
            worker.busy += max(now - max(mine.started, worker.until), 0.0)
            worker.scanned += mine.cost
            worker.until = now
        worker.strikes = 0
        mine.scanned = True

    def done(self, shard: str) -> None:
        """Note that nothing of a shard is on a worker's disk any more."""
        self.shards[shard].done = True

    def strike(self, shard: str, reason: str, *, begin_again: bool) -> bool:
        """Count a failure of the worker that has `shard`; return whether the shard is free for another one now.

        If there is no other, it stays where it is and goes on there, or is to `begin_again`. A worker that fails
        `STRIKES` times in a row is left out.
        """
        mine, name = self._placed(shard)
        worker = self.workers[name]
        worker.strikes += 1
        others = [other for other, found in self.workers.items() if found.usable and other != name]
        if worker.strikes >= STRIKES and others:
            worker.left_out = f"failed {worker.strikes} times in a row, the last time: {reason}"
        moves = bool(set(others).difference(mine.failed_on))
        if moves:
            self.shards[shard] = FleetShard(mine.cost, failed_on=[*mine.failed_on, name], scans=mine.scans)
        elif begin_again:
            self.shards[shard] = FleetShard(mine.cost, worker=name, failed_on=mine.failed_on, scans=mine.scans)
        return moves

    def _placed(self, shard: str) -> tuple[FleetShard, str]:
        found = self.shards[shard]
        if found.worker is None:
            raise ValueError(f"shard {shard} is on no worker; clear its task prefetch")
        return found, found.worker

    def _choose(self, wanted: FleetShard, now: float) -> str | None:
        usable = {name: worker for name, worker in self.workers.items() if worker.usable}
        if not usable:
            reasons = [
                f"{name} {'is drained' if worker.drained else worker.left_out}" for name, worker in self.workers.items()
            ]
            raise NoWorkerError(f"no worker is left that can take a shard: {'; '.join(reasons) or 'none is listed'}")
        if untried := usable.keys() - wanted.failed_on:
            usable = {name: usable[name] for name in untried}
        placed: dict[str, list[FleetShard]] = {name: [] for name in usable}
        for shard in self.shards.values():
            if shard.worker in placed and not shard.done:
                placed[shard.worker].append(shard)
        with_room = {name for name, shards in placed.items() if len(shards) < self.places}
        if not with_room or self._waits_for_another(wanted, now):
            return None
        speeds = self._speeds(usable)
        free_at = {name: self._backlog(name, placed[name], speeds[name], now) for name in usable}
        waiting = (shard.cost for shard in self.shards.values() if shard.worker is None and shard is not wanted)
        takers = with_room & _takers(free_at, speeds, [wanted.cost, *waiting])
        return min(takers, key=lambda name: (free_at[name] + wanted.cost / speeds[name], name), default=None)

    def _waits_for_another(self, wanted: FleetShard, now: float) -> bool:
        """Return whether a shard before `wanted` asks for a worker: the first ones have the costliest packages."""
        for shard in self.shards.values():
            if shard is wanted:
                return False
            if shard.worker is None and shard.asked is not None and now - shard.asked < _ASKS_SECONDS:
                return True
        return False

    def _speeds(self, usable: Iterable[str]) -> dict[str, float]:
        """Return the cost that each worker does in a second: as measured, else as its capacity and the others say."""
        measured = [(worker.capacity.speed, worker.measured) for worker in self.workers.values() if worker.measured]
        nominal = sum(speed for speed, _ in measured)
        factor = sum(speed for _, speed in measured) / nominal if nominal else 1.0
        return {name: self.workers[name].measured or self.workers[name].capacity.speed * factor for name in usable}

    def _backlog(self, name: str, shards: Iterable[FleetShard], speed: float, now: float) -> float:
        """Return the seconds until a worker has scanned all it has."""
        left = [shard for shard in shards if not shard.scanned]
        started = [shard for shard in left if shard.started is not None]
        begun = max(min((shard.started or 0.0 for shard in started), default=now), self.workers[name].until)
        done = min((now - begun) * speed, sum(shard.cost for shard in started))
        return (sum(shard.cost for shard in left) - done) / speed


def _takers(free_at: Mapping[str, float], speeds: Mapping[str, float], costs: Iterable[float]) -> set[str]:
    """Return the workers that get any of the shards if each goes to the one that would be done with it first."""
    takers: set[str] = set()
    free = dict(free_at)
    for cost in costs:
        end, name = min((free[name] + cost / speeds[name], name) for name in free)
        free[name] = end
        takers.add(name)
        if len(takers) == len(free):
            break
    return takers
