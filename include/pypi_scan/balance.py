"""What a scan of a package will cost, and how to divide work into parts of about equal cost."""

import heapq
from collections.abc import Sequence


def predicted_cost(files: int, size: int) -> float:
    """Return a guess of the CPU seconds of a package from its number of files and their bytes together.

    A second to open a file, twenty a megabyte: the medians of stock Aura on small packages; above 20 MB most of a
    file is data that costs little.
    """
    return files + 20.0 * min(size, 20_000_000) / 1e6


def balance(costs: Sequence[tuple[float, str]], shards: int) -> list[list[str]]:
    """Divide names among `shards` groups of about equal cost: longest first, each to the group that has least.

    Same input, same groups, whatever the order of `costs`. Groups may be empty if there are fewer names than groups.
    """
    groups: list[list[str]] = [[] for _ in range(shards)]
    loads = [(0.0, index) for index in range(shards)]
    for cost, name in sorted(costs, key=lambda item: (-item[0], item[1])):
        load, index = heapq.heappop(loads)
        groups[index].append(name)
        heapq.heappush(loads, (load + cost, index))
    return groups
