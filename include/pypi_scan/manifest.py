"""``manifest.json`` of a published scan: where it comes from, what is in it."""

import msgspec

from pypi_scan.results import Scanner

SCANS_PREFIX = "pypi_datasets"  # what every scan is published below


class ManifestFile(msgspec.Struct, frozen=True):
    """A file of the dataset; `size` in bytes, digests in lower-case hexadecimal."""

    name: str
    size: int
    sha256: str
    md5: str


class Counts(msgspec.Struct, frozen=True):
    """Packages the scan was asked for, packages with a record, packages by status."""

    input: int
    records: int
    by_status: dict[str, int]


class ChangeCounts(msgspec.Struct, frozen=True):
    """How many packages differ from the scan `since`: new, gone, of another version, same version other detections."""

    since: str
    new: int
    gone: int
    version: int
    detections: int


class Manifest(msgspec.Struct, frozen=True):
    """The provenance of a scan. `as_of` is ISO 8601 in UTC; `files` are all that are written before it.

    `partial` says that the scan was asked for some packages only: it stands for itself, not for all of PyPI. `changes`
    is null for such a scan, and for the first one.
    """

    scan_id: str
    as_of: str
    mirror_serial: int
    scanner: Scanner
    versions: dict[str, str]
    counts: Counts
    files: list[ManifestFile]
    changes: ChangeCounts | None = None
    partial: bool = False
