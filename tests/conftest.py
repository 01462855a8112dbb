"""Fixtures for every test: the demo's upstream and a pip, each made once a session."""

from pathlib import Path

import pytest

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
