"""The scans of this host whose dataset is packed."""

import logging
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pypi_scan.dataset_index import DATASET
from pypi_scan.editions.columns import DETECTIONS, PACKAGES
from pypi_scan.manifest import MANIFEST, ManifestError, as_of_instant, parse_manifest
from pypi_scan.plan import SCAN_ID

log = logging.getLogger(__name__)


class PackedScan(NamedTuple):
    """A scan and the directory of its dataset; one that is `partial` was asked for some packages only."""

    scan_id: str
    as_of: datetime
    partial: bool
    directory: Path

    @property
    def packages(self) -> Path:
        """Its edition with a row a package."""
        return self.directory / PACKAGES

    @property
    def detections(self) -> Path:
        """Its edition with a row a detection."""
        return self.directory / DETECTIONS

    @property
    def records(self) -> Path:
        """Its records."""
        return self.directory / DATASET


def packed_scans(scans_dir: Path) -> list[PackedScan]:
    """Return the scans that are packed, the newest first."""
    found = []
    for path in scans_dir.glob(f"*/dataset/{MANIFEST}"):
        if not SCAN_ID.fullmatch(path.parent.parent.name):
            continue
        try:
            manifest = parse_manifest(path.read_bytes())
            scan = PackedScan(path.parent.parent.name, as_of_instant(manifest), manifest.partial, path.parent)
        except (OSError, ManifestError) as error:
            log.warning("%s is left out: %s; clear the task pack of that scan", path, error)
            continue
        found.append(scan)
    return sorted(found, key=lambda scan: (scan.as_of, scan.scan_id), reverse=True)
