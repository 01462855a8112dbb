"""The scan that a page of findings or of a package is about."""

from collections.abc import Sequence

from fastapi import HTTPException

from pypi_scan.monitor.packed_scans import PackedScan


def asked_scan(scans: Sequence[PackedScan], scan_id: str) -> PackedScan:
    """Return the scan of this id, the newest if it is empty; raises HTTPException."""
    if not scans:
        raise HTTPException(404, "No scan of this host is packed yet. Trigger global_scan, or wait until it is.")
    if not scan_id:
        return scans[0]
    for scan in scans:
        if scan.scan_id == scan_id:
            return scan
    raise HTTPException(
        404, f"This host has no packed scan {scan_id:.40}. Those it has are in the list of the page Findings."
    )
