"""Fixtures for every test, each made once a session: the demo's upstream, a pip, the small world with Airflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live_world import Live, live_world

from demo.upstream import build_upstream
from demo.upstream.pip_command import pip_command


@pytest.fixture(scope="session")
def upstream_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An upstream of the demo's own packages, without the real ones. Shared: copy it before changing it."""
    destination = tmp_path_factory.mktemp("upstream")
    build_upstream(destination, destination / "cache", real_packages=False)
    return destination


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs pip."""
    return pip_command(tmp_path_factory.mktemp("pip"))


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running world, one for all tests that do not mind what others did in it."""
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="module")
def own_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A world for the tests of one module, with nothing published before them."""
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running
