"""The newest scan that was packed on this control host: what the estimate of the next one goes by."""

from pathlib import Path
from typing import NamedTuple

from pypi_scan.divide import read_division
from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import open_fleet
from pypi_scan.manifest import MANIFEST
from pypi_scan.plan import read_plan
from pypi_scan.results import Scanner


class EarlierScan(NamedTuple):
    """A scan: what it scanned with, on which workers, and the bytes its directory has for each package it scanned."""

    scan_id: str
    scanner: Scanner
    workers: list[Capacity]
    bytes_per_package: float


def newest_scan(scans_dir: Path) -> EarlierScan | None:
    """Return the scan in `scans_dir` that was packed last, None if none was.

    Raises PlanError, DivisionError or FleetFileError if a file of it is damaged.
    """
    manifests = scans_dir.glob(f"*/dataset/{MANIFEST}")
    newest = max(manifests, key=lambda path: path.stat().st_mtime_ns, default=None)
    if newest is None:
        return None
    directory = newest.parents[1]
    with open_fleet(directory) as fleet:
        workers = [worker.capacity for worker in fleet.workers.values() if worker.usable]
    held = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return EarlierScan(directory.name, read_division(directory).scanner, workers, held / read_plan(directory).planned)
