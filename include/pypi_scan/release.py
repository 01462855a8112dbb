"""Which release of a package a scan takes: what pip would have chosen at a moment in time."""

from datetime import UTC, datetime
from typing import NamedTuple

from packaging.version import Version

from pypi_scan.mirror import PackageDocument, ReleaseFile


class Release(NamedTuple):
    """A version and those of its files that were there to choose from."""

    version: str
    files: list[ReleaseFile]


class NotYetPublished(Exception):  # noqa: N818 - an outcome, not an error
    """The package's first file was uploaded after the moment asked about."""


def latest_release(document: PackageDocument, as_of: datetime) -> Release | None:
    """Return the newest release with a file uploaded, and not yanked, at `as_of` (an aware datetime).

    Newest is by PEP 440, a pre-release only where there is nothing else; versions that are not PEP 440 do not count,
    as for pip. None if the package has no such release. Raises NotYetPublished if its first upload came after `as_of`.
    """
    uploads = [uploaded_at(file) for files in document.releases.values() for file in files]
    if uploads and min(uploads) > as_of:
        raise NotYetPublished(document.info.name)
    candidates: list[tuple[bool, Version, Release]] = []
    for text, files in document.releases.items():
        there = [file for file in files if not file.yanked and uploaded_at(file) <= as_of]
        version = _parse(text)
        if there and version is not None:
            candidates.append((not version.is_prerelease, version, Release(text, there)))
    if not candidates:
        return None
    return max(candidates, key=lambda candidate: candidate[:2])[2]


def uploaded_at(file: ReleaseFile) -> datetime:
    """Return the upload time of a file in UTC; raises ValueError if upstream sent something else than ISO 8601."""
    return in_utc(datetime.fromisoformat(file.upload_time_iso_8601))


def in_utc(time: datetime) -> datetime:
    """Return `time` in UTC, in which a time without offset is; raises ValueError outside the years 1 to 9999."""
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(f"{time} lies outside the years 1 to 9999 in UTC") from error


def _parse(version: str) -> Version | None:
    try:
        return Version(version)
    except ValueError:  # InvalidVersion, or a number of more digits than Python converts
        return None
