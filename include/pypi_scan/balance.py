"""How a scan's cost is divided: into how many shards, and which of them holds what.

Costs are CPU seconds of a worker's core of average speed.
"""

import heapq
from collections.abc import Sequence

from pypi_scan.fleet import Capacity

MAX_SHARDS = 1000  # mapped tasks that Airflow's scheduler and web UI still handle comfortably
SHARD_SECONDS = 30 * 60  # what is lost when a worker dies, and what its disk must hold a few times
ROUNDS = 16  # shards a worker gets at least, if that does not make them shorter than the next
SHORTEST_SECONDS = 2 * 60  # below this Airflow's own time a task, some ten seconds, weighs too much
_SPREAD = 1.25  # the number of shards may be so much smaller or larger, if that lets workers end together


def balance[Item: (int, str)](costs: Sequence[tuple[float, Item]], shards: int) -> list[list[Item]]:
    """Divide items among `shards` groups of about equal cost: longest first, each to the group that has least.

    Same input, same groups, whatever the order of `costs`. Groups may be empty if there are fewer items than groups.
    """
    groups: list[list[Item]] = [[] for _ in range(shards)]
    loads = [(0.0, index) for index in range(shards)]
    for cost, item in sorted(costs, key=lambda pair: (-pair[0], pair[1])):
        load, index = heapq.heappop(loads)
        groups[index].append(item)
        heapq.heappush(loads, (load + cost, index))
    return groups


def shard_count(total_cost: float, workers: Sequence[Capacity], items: int) -> int:
    """Return into how many shards to divide `items` of together `total_cost` for these workers, of which one is needed.

    A shard takes half an hour, or a sixteenth of the scan if that is less, but not under two minutes. Near that, the
    number is one with which equal shards end on all workers at about the same time: with equal workers, a multiple of
    their number.
    """
    speeds = [worker.speed for worker in workers]
    scan_seconds = total_cost / sum(speeds)
    seconds = min(SHARD_SECONDS, max(SHORTEST_SECONDS, scan_seconds / ROUNDS))
    wanted = scan_seconds * len(speeds) / seconds
    most = min(items, MAX_SHARDS)
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
