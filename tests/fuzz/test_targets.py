"""Whatever upstream, a worker or a published scan says: it is taken as it should be, or refused as documented.

`make fuzz` goes on where this ends: for as long as it is let, and guided by what code an input reaches.
"""

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pypi_scan.results import RESULT_FILES

from .mutation import mutate
from .targets import Target, make_targets
from .world import make_world

NAMES = ["records", *RESULT_FILES, "shard", "document", "url", "manifest", "dataset.index.json", "dataset.zst"]
_QUICK = settings(
    max_examples=40, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def targets(upstream_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    root = tmp_path_factory.mktemp("fuzz")
    made = make_targets(make_world(upstream_tree, root / "world"), root / "targets")
    return {target.name: target for target in made}


def test_every_target_is_listed_and_takes_what_is_real(targets: dict[str, Target]) -> None:
    assert list(targets) == NAMES
    for target in targets.values():
        for seed in target.seeds:
            target.run(seed)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_input(targets: dict[str, Target], name: str) -> None:
    target = targets[name]

    @_QUICK
    @given(st.sampled_from(target.seeds), st.randoms())
    def check(seed: bytes, random: Random) -> None:
        target.run(mutate(seed, random))

    check()
