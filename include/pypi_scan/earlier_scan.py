"""The scans that were packed on this control host: what the estimate of the next one goes by."""

import logging
from pathlib import Path
from typing import NamedTuple

from pypi_scan.divide import DivisionError, read_division
from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import FleetFileError, open_fleet
from pypi_scan.manifest import MANIFEST
from pypi_scan.plan import PlanError, read_plan
from pypi_scan.results import Scanner

log = logging.getLogger(__name__)


class EarlierScan(NamedTuple):
    """A scan: what it scanned with, on which workers, and the bytes its directory has for each package of its plan."""

    scan_id: str
    partial: bool
    scanner: Scanner
    workers: list[Capacity]
    bytes_per_package: float


def packed_scans(scans_dir: Path) -> list[EarlierScan]:
    """Return the scans in `scans_dir` that were packed, the last first; one that cannot be read is left out."""
    manifests = sorted(scans_dir.glob(f"*/dataset/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = []
    for path in manifests:
        try:
            found.append(_read(path.parents[1]))
        except (PlanError, DivisionError, FleetFileError) as error:
            log.warning("an earlier scan is left out: %s", error)
    return found


def _read(directory: Path) -> EarlierScan:
    plan = read_plan(directory)
    with open_fleet(directory) as fleet:
        workers = [worker.capacity for worker in fleet.workers.values() if worker.usable]
    held = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return EarlierScan(plan.scan_id, plan.partial, read_division(directory).scanner, workers, held / plan.planned)
