"""The scan before: what a dataset's changes are told against."""

import logging
from datetime import datetime
from pathlib import Path

from pypi_scan.editions.columns import DETECTIONS, PACKAGES
from pypi_scan.files import file_digest
from pypi_scan.index import load_index
from pypi_scan.index.model import Index, IndexedScan
from pypi_scan.manifest import MANIFEST, SCANS_PREFIX, SIGNATURE, Manifest, parse_manifest
from pypi_scan.pack import PreviousScan
from pypi_scan.plan import Plan, read_plan
from pypi_scan.publish import Cdn, PublishError, download_object, read_object
from pypi_scan.signing import SigningKey

log = logging.getLogger(__name__)


def previous_scan(plan: Plan, index: Index) -> IndexedScan | None:
    """Return the published scan of all packages that is the last before `plan` in time, whenever either was run.

    None if there is none with Parquet editions, and for a scan of some packages only.
    """
    if plan.partial:
        return None
    as_of = datetime.fromisoformat(plan.as_of)
    earlier = (
        scan
        for scan in index.scans  # the newest first
        if scan.as_of < as_of and not scan.partial and scan.file(PACKAGES) and scan.file(DETECTIONS)
    )
    return next(earlier, None)


def fetch_previous_scan(cdn: Cdn, scans_dir: Path, scan_id: str, key: SigningKey) -> PreviousScan | None:
    """Return what a planned scan is compared with, downloaded if need be; None if there is nothing.

    What is downloaded is what `key` has signed: whoever can write to the CDN could else hand DuckDB a file. Raises
    PublishError if it cannot be had, ManifestError if a published manifest is not valid.
    """
    scan_dir = scans_dir / scan_id
    scan = previous_scan(read_plan(scan_dir), load_index(cdn))
    if scan is None:
        log.info("there is no earlier scan of all packages to compare with")
        return None
    packed = scans_dir / scan.scan_id / "dataset"
    expected = {file.name: file.sha256 for file in scan.files if file.name in (PACKAGES, DETECTIONS)}
    if all((packed / name).is_file() and file_digest(packed / name) == digest for name, digest in expected.items()):
        return PreviousScan(scan.scan_id, packed)
    signed = _signed_manifest(cdn, scan.scan_id, key)
    if signed is None:
        log.warning("scan %s on the CDN is not signed with our key: what changed since is not told", scan.scan_id)
        return None
    directory = scan_dir / "previous"
    directory.mkdir(exist_ok=True)
    for name, digest in {file.name: file.sha256 for file in signed.files if file.name in expected}.items():
        target = directory / name
        if not target.is_file() or file_digest(target) != digest:
            log.info("fetching %s of scan %s, to tell what changed", name, scan.scan_id)
            download_object(cdn, f"{SCANS_PREFIX}/{scan.scan_id}/{name}", target)
            if file_digest(target) != digest:
                raise PublishError(
                    f"{name} of scan {scan.scan_id} on the CDN is not what its manifest says; publish that scan again"
                )
    return PreviousScan(scan.scan_id, directory)


def _signed_manifest(cdn: Cdn, scan_id: str, key: SigningKey) -> Manifest | None:
    content, signature = (read_object(cdn, f"{SCANS_PREFIX}/{scan_id}/{name}") for name in (MANIFEST, SIGNATURE))
    if content is None or signature is None or not key.has_signed(content, signature):
        return None
    manifest = parse_manifest(content)
    return manifest if manifest.scan_id == scan_id else None
