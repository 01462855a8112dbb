"""``dataset.index.json``: where in ``dataset.zst`` the record of a package lies.

``{"dataset": "dataset.zst", "size": 123, "frames": [[offset, length], ...], "packages": {"requests": 0, ...}}``: sizes
in bytes, a package's value counts the frames from 0. A frame is a zstd file of its own that holds the records of some
packages, one a line, so one range request is enough to read one of them.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pypi_scan.files import atomic_write
from pypi_scan.record import Count
from pypi_scan.results import Frame

DATASET = "dataset.zst"
INDEX = "dataset.index.json"


class DatasetIndex(msgspec.Struct, frozen=True):
    """What the file holds."""

    dataset: str
    size: Count
    frames: list[tuple[Count, Count]]
    packages: dict[str, Count]


def write_dataset_index(frames: Iterable[Frame], target: Path) -> None:
    """Write the index of a dataset that consists of `frames`, in this order."""
    frames = list(frames)
    size = frames[-1].offset + frames[-1].length if frames else 0
    packages = {name: number for number, frame in enumerate(frames) for name in frame.names}
    index = DatasetIndex(
        DATASET, size, [(frame.offset, frame.length) for frame in frames], dict(sorted(packages.items()))
    )
    with atomic_write(target) as file:
        file.write(msgspec.json.encode(index) + b"\n")
