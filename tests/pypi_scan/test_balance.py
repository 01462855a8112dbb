"""What a package will cost, and groups of about equal cost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypi_scan.balance import balance, predicted_cost


@pytest.mark.parametrize(
    ("files", "size", "cost"), [(0, 0, 0), (1, 0, 1), (2, 500_000, 12), (1, 20_000_000, 401), (1, 10**12, 401)]
)
def test_predicted_cost(files: int, size: int, cost: float) -> None:
    assert predicted_cost(files, size) == cost


costs = st.dictionaries(st.text("abc", min_size=1), st.floats(0, 1e6), max_size=40)


@given(costs, st.integers(1, 10), st.randoms())
def test_groups_are_balanced_and_hold_every_name_once(costs: dict[str, float], shards: int, random: Any) -> None:
    named = [(cost, name) for name, cost in costs.items()]
    groups = balance(named, shards)
    assert len(groups) == shards
    assert sorted(name for group in groups for name in group) == sorted(costs)
    loads = [sum(costs[name] for name in group) for group in groups]
    assert max(loads) <= min(loads) + max(costs.values(), default=0) + 1e-3
    random.shuffle(named)
    assert balance(named, shards) == groups
