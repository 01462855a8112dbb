"""The small world with a real Airflow in it: one for all end-to-end tests, and one for those that need their own."""

from collections.abc import Iterator

import pytest
from tests.live_world import Live, live_world


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running world, one for all tests that do not mind what others did in it."""
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="module")
def own_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A world for the tests of one module, with nothing published before them."""
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running
