"""How the mirror stands: told by small files, whatever the size of the mirror."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pypi_scan.datasets.layout import made_file
from pypi_scan.datasets.package_list import PackageListSummary
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.monitor.file_cache import FileCache
from pypi_scan.settings import Settings
from pypi_scan.sync import last_sync_time
from pypi_scan.sync_errors import SyncError
from pypi_scan.sync_report import read_report

_MAX_SERIAL_BYTES = 64


class MirrorFacts(msgspec.Struct, frozen=True):
    """How the mirror stands.

    `serial` is None if it cannot be read; `behind` are the serials that a sync which is not done yet has still to go,
    as upstream had them when that sync asked. `packages` are those of the last package list, `last_sync` seconds since
    the epoch, both None before the first; `put_aside` counts packages by why they could not be synced, and is None if
    the report of the last sync is damaged. `disk_used` and `disk_size` are bytes of the file system it lies on.
    """

    serial: int | None
    behind: int
    packages: int | None
    last_sync: float | None
    put_aside: dict[str, int] | None
    disk_used: int
    disk_size: int


class HourOfChanges(NamedTuple):
    """How many packages changed in the hour that began at `start`, in seconds since the epoch."""

    start: int
    changed: int


class _MadeList(msgspec.Struct, frozen=True):
    """What of the note on a dataset says how many packages the package list has."""

    summary: PackageListSummary


def mirror_facts(settings: Settings) -> MirrorFacts:
    """Read how the mirror stands."""
    try:
        serial = Mirror(settings.mirror_root).serial()
    except MirrorError:
        serial = None
    try:
        put_aside = _put_aside.get(settings.sync_report)
    except FileNotFoundError:
        put_aside = {}
    except SyncError:
        put_aside = None
    used, size = _disk(settings.mirror_root)
    return MirrorFacts(
        serial=serial,
        behind=max(_serial_to_reach(settings.mirror_root) - (serial or 0), 0),
        packages=_packages(settings.datasets_dir),
        last_sync=last_sync_time(settings) or None,
        put_aside=put_aside,
        disk_used=used,
        disk_size=size,
    )


def hours_of_changes(changes: Iterable[tuple[float, int]], now: float, hours: int) -> Sequence[HourOfChanges]:
    """Return the last `hours` with the sum of the changes, (seconds since the epoch, number), that fall into each."""
    last = int(now // 3600)
    sums = dict.fromkeys(range(last - hours + 1, last + 1), 0)
    for at, number in changes:
        if (hour := int(at // 3600)) in sums:
            sums[hour] += number
    return [HourOfChanges(hour * 3600, changed) for hour, changed in sums.items()]


def _serial_to_reach(mirror_root: Path) -> int:
    """Return the serial that a large sync, else an interrupted one, leads to; 0 if there is none."""
    for path in (mirror_root / "batches" / "end", mirror_root / "todo"):
        try:
            with path.open("rb") as file:
                return int(file.readline(_MAX_SERIAL_BYTES))
        except (FileNotFoundError, ValueError):
            continue
    return 0


def _packages(datasets_dir: Path) -> int | None:
    try:
        made = msgspec.json.decode(made_file(datasets_dir, "package_list").read_bytes(), type=_MadeList)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return made.summary["packages"]


def _disk(directory: Path) -> tuple[int, int]:
    try:
        stat = os.statvfs(directory)
    except FileNotFoundError:
        return 0, 0
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize, stat.f_blocks * stat.f_frsize


_put_aside = FileCache(lambda path: read_report(path).counts(), size=4)
