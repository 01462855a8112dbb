"""Manifests that come back from the CDN: read, and checked to be fit to be shown and linked to."""

import re
from datetime import UTC, datetime

import msgspec

from pypi_scan.manifest import Manifest
from pypi_scan.names import HostileInputError, check_sha256
from pypi_scan.plan import SCAN_ID

# Such names need no escaping in a path, a page, a feed or Markdown, and no two of them look alike.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_STATUS = re.compile(r"[a-z_]{1,40}", re.ASCII)


class ManifestError(ValueError):
    """A scan's manifest is not what it should be; the message says what is wrong with it."""


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest in `content`, fit to be shown and linked to; raises ManifestError."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
        for file in manifest.files:
            check_sha256(file.sha256)
    except (msgspec.MsgspecError, UnicodeDecodeError, HostileInputError) as error:
        raise ManifestError(f"not a manifest of a scan: {error}") from error
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
        raise ManifestError(f"as_of is not a time with UTC offset: {manifest.as_of!r:.80} ({error})") from error
