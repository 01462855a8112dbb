"""How far each shard of a running scan is, in ``<scans_dir>/<scan_id>/progress/``, for whoever shows it."""

from pathlib import Path
from typing import Annotated

import msgspec

from pypi_scan.files import atomic_write

PROGRESS = "progress"

type Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
type Rate = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class ShardProgress(msgspec.Struct, frozen=True):
    """The step that a shard is at, where, and how many items of it are done: files of a prefetch, packages of a scan.

    `at` is in seconds since the epoch, `rate` in items a second.
    """

    step: str
    worker: str
    done: Count
    failed: Count
    total: Count
    rate: Rate | None
    at: float

    @property
    def seconds_left(self) -> float | None:
        """The time that the rest takes at this rate, from `at` on."""
        return (self.total - self.done) / self.rate if self.rate else None


def write_progress(scan_dir: Path, shard: str, progress: ShardProgress) -> None:
    """Note how far a shard is."""
    with atomic_write(scan_dir / PROGRESS / f"{shard}.json") as file:
        file.write(msgspec.json.encode(progress))


def read_progress(scan_dir: Path) -> dict[str, ShardProgress]:
    """Return shard -> how far it was when it was last noted, of those that have begun."""
    paths = sorted((scan_dir / PROGRESS).glob("*.json"), key=str)  # Path compares slowly
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=ShardProgress) for path in paths}
