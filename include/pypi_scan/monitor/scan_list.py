"""The scans whose plans lie on the control host."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pypi_scan.manifest import MANIFEST, Counts, ManifestError, parse_manifest
from pypi_scan.monitor.file_cache import FileCache
from pypi_scan.plan import SCAN_ID, Plan, PlanError, read_plan


class PlannedScan(NamedTuple):
    """A scan: its plan, and how its packages ended once it is packed."""

    plan: Plan
    counts: Counts | None


def planned_scans(scans_dir: Path) -> Iterator[PlannedScan]:
    """Yield the scans by date, the latest first; a directory without a readable plan is left out."""
    try:
        names = [path.name for path in scans_dir.iterdir() if SCAN_ID.fullmatch(path.name)]
    except FileNotFoundError:
        return
    for name in sorted(names, key=_by_date, reverse=True):
        if scan := planned_scan(scans_dir / name):
            yield scan


def planned_scan(scan_dir: Path) -> PlannedScan | None:
    """Return the scan in a directory, if there is one."""
    try:
        plan = _plans.get(scan_dir / "plan.json")
    except (OSError, PlanError):
        return None
    try:
        return PlannedScan(plan, _counts.get(scan_dir / "dataset" / MANIFEST))
    except (OSError, ManifestError):
        return PlannedScan(plan, None)


def _by_date(scan_id: str) -> tuple[str, int]:
    return scan_id[:10], int(scan_id[11:] or 1)


_plans = FileCache(lambda path: read_plan(path.parent), size=500)
_counts = FileCache(lambda path: parse_manifest(path.read_bytes()).counts, size=500)
