"""One faulty world for all faults of a session, and an undisturbed scan in it to compare with."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .aftermath import check_nothing_is_left, published
from .faulty_world import faulty_world
from .ordeal import Undisturbed


@pytest.fixture(scope="package")
def undisturbed() -> Iterator[Undisturbed]:
    """A world in which one scan has ended well."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)  # PostgreSQL runs as another user
        with faulty_world(Path(directory) / "world") as where:
            run = where.scan()
            assert run.until_ended() == "success"
            here = Undisturbed(where, published(where, run.scan_id), {run.scan_id})
            check_nothing_is_left(where, run, here.public)
            yield here
