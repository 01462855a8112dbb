"""How a scan is divided: into how many shards, and which blocks of packages each of them has.

Costs are predicted CPU seconds. A block is some consecutive packages, which are always in one shard.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from pypi_scan.fleet import Capacity

MAX_SHARDS = 1000  # mapped tasks that Airflow's scheduler and web UI still handle comfortably
SHARD_SECONDS = 30 * 60  # what is lost when a worker dies, and what its disk must hold a few times
ROUNDS = 16  # shards that a worker gets, if that does not make them shorter than the next
SHORTEST_SECONDS = 2 * 60  # below this Airflow's own time a task, some ten seconds, weighs too much
_SPREAD = 1.25  # the number of shards may be so much smaller or larger, if that lets workers end together


class BlockCost(NamedTuple):
    """What the packages of a block cost together, and what the costliest of them may cost."""

    number: int
    cost: float
    costliest: float


def balance(blocks: Sequence[BlockCost], shards: int) -> list[list[int]]:
    """Divide blocks among at most `shards` shards of about equal cost; return their numbers.

    The blocks with the packages that may be the costliest come first: such a package takes long on one core, and is to
    begin while there is other work for the others. Same blocks, same shards, whatever their order; none is empty.
    """
    groups: list[list[int]] = []
    left = sum(block.cost for block in blocks)
    load = share = 0.0
    ordered = sorted(blocks, key=lambda block: (-block.costliest, block.number))
    for place, block in enumerate(ordered):
        full = load + block.cost / 2 > share or len(ordered) - place <= shards - len(groups)
        if not groups or (full and len(groups) < shards):
            left -= load
            share = left / (shards - len(groups))
            groups.append([])
            load = 0.0
        groups[-1].append(block.number)
        load += block.cost
    return groups


def shard_count(total_cost: float, workers: Sequence[Capacity], blocks: int) -> int:
    """Return into how many shards to divide so many `blocks` of together `total_cost` for `workers`, at least one.

    A shard takes half an hour, or a sixteenth of the scan if that is less, but not under two minutes. Near that, the
    number is one with which equal shards end on all workers at about the same time: with equal workers, a multiple of
    their number.
    """
    speeds = [worker.speed for worker in workers]
    scan_seconds = total_cost / sum(speeds)
    seconds = min(SHARD_SECONDS, max(SHORTEST_SECONDS, scan_seconds / ROUNDS))
    wanted = scan_seconds * len(speeds) / seconds
    most = min(blocks, MAX_SHARDS)
    least, most = (max(1, min(most, round(number))) for number in (wanted / _SPREAD, wanted * _SPREAD))
    return min(range(least, most + 1), key=lambda count: (_unused(count, speeds), abs(count - wanted)))


def _unused(count: int, speeds: Sequence[float]) -> float:
    """Return the share of the workers' time, to 1 %, that is left over when they scan `count` equal shards."""
    ends = [(1 / speed, 1 / speed) for speed in speeds]
    heapq.heapify(ends)
    end = 0.0
    for _ in range(count):
        end, each = heapq.heappop(ends)
        heapq.heappush(ends, (end + each, each))
    return round(1 - count / (sum(speeds) * end), 2)
