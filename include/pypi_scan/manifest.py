"""``manifest.json`` of a published scan: where it comes from, what is in it."""

import re
from datetime import UTC, datetime

import msgspec

from pypi_scan.names import HostileInputError, check_sha256, printable
from pypi_scan.plan import SCAN_ID
from pypi_scan.results import Scanner

SCANS_PREFIX = "pypi_datasets"  # what every scan is published below
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"

# Names of files that need no escaping in a path, a page, a feed or Markdown, and no two of them look alike.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_STATUS = re.compile(r"[a-z_]{1,40}", re.ASCII)


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


class ManifestError(ValueError):
    """A scan's manifest is not what it should be; the message says what is wrong with it."""


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest in `content`, fit to be shown and linked to; raises ManifestError."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
        for file in manifest.files:
            check_sha256(file.sha256)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, HostileInputError) as error:
        raise ManifestError(f"not a manifest of a scan: {printable(error)}") from error
    changes = manifest.changes
    for scan_id in (manifest.scan_id, *([changes.since] if changes else [])):
        if not SCAN_ID.fullmatch(scan_id):
            raise ManifestError(f"not a scan id (2026-11-01 or 2026-11-01-2): {scan_id!r:.80}")
    as_of_instant(manifest)
    names = [file.name for file in manifest.files]
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise ManifestError(f"not a file name: {name!r:.80}")
    if len(set(names)) < len(names):
        raise ManifestError("names a file twice")
    for status in manifest.counts.by_status:
        if not _STATUS.fullmatch(status):
            raise ManifestError(f"not a status: {status!r:.80}")
    numbers = [manifest.mirror_serial, manifest.counts.input, manifest.counts.records]
    numbers += [changes.new, changes.gone, changes.version, changes.detections] if changes else []
    if min(*numbers, *manifest.counts.by_status.values(), *(file.size for file in manifest.files)) < 0:
        raise ManifestError("a count or size is negative")
    return manifest


def as_of_instant(manifest: Manifest) -> datetime:
    """Return the manifest's `as_of`, ISO 8601 with offset, as a time in UTC; raises ManifestError."""
    try:
        instant = datetime.fromisoformat(manifest.as_of)
        if instant.tzinfo is None:
            raise ValueError("no UTC offset")
        return instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ManifestError(f"as_of is not a time with UTC offset: {manifest.as_of!r:.80} ({error!s:.80})") from error
