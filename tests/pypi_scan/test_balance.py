"""How many shards a scan has, and that they cost about the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypi_scan.balance import MAX_SHARDS, BlockCost, balance, shard_count
from pypi_scan.fleet import Capacity

HOUR = 3600.0

blocks = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), max_size=40).map(
    lambda drawn: [BlockCost(number, cost, cost * part) for number, (cost, part) in enumerate(drawn)]
)


@given(blocks, st.integers(1, 10), st.randoms())
def test_shards_are_balanced_and_hold_every_block_once(blocks: list[BlockCost], shards: int, random: Any) -> None:
    groups = balance(blocks, shards)
    assert len(groups) == min(shards, len(blocks))
    assert all(groups)
    assert sorted(number for group in groups for number in group) == list(range(len(blocks)))
    load = max((sum(blocks[number].cost for number in group) for group in groups), default=0)
    average, largest = sum(block.cost for block in blocks) / shards, max((block.cost for block in blocks), default=0)
    assert load <= average + 2 * largest + 1e-3
    random.shuffle(blocks)
    assert balance(blocks, shards) == groups


def test_costly_packages_are_in_the_first_shards_and_together() -> None:
    blocks = [BlockCost(number, 100.0, 90.0 if number in (3, 11) else 1.0) for number in range(16)]
    first, *others = balance(blocks, 8)
    assert first == [3, 11]
    assert [len(group) for group in others] == [2] * 7


@pytest.mark.parametrize(
    ("total", "workers", "blocks", "count", "minutes"),
    [
        (24 * 48 * HOUR, [Capacity(24)], 6000, range(80, 120), 30),
        (240 * 9.7 * HOUR, [Capacity(24)] * 10, 6000, range(160, 250, 10), 30),
        (240 * HOUR, [Capacity(24)] * 10, 6000, range(160, 161), 3.75),
        (24 * 41 * HOUR, [Capacity(24), Capacity(12), Capacity(12)], 6000, range(100, 150, 4), 30),
        (8 * 600.0, [Capacity(8)], 64, range(5, 6), 2),
    ],
)
def test_shards_take_about_as_long_as_they_should_and_end_together(
    total: float, workers: list[Capacity], blocks: int, count: range, minutes: float
) -> None:
    shards = shard_count(total, workers, blocks)
    assert shards in count
    speed = sum(worker.speed for worker in workers) / len(workers)
    assert total / shards / speed == pytest.approx(minutes * 60, rel=0.25)


@pytest.mark.parametrize(
    ("total", "blocks", "count"), [(0.0, 3, 1), (1.0, 64, 1), (1e9, 7, 7), (1e9, 6000, MAX_SHARDS)]
)
def test_there_is_a_shard_and_there_are_never_too_many(total: float, blocks: int, count: int) -> None:
    assert shard_count(total, [Capacity(4)] * 3, blocks) == count
