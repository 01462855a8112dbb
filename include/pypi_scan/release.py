"""Which release of a package a scan takes: what pip would have chosen at a moment in time."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from packaging.version import Version

from pypi_scan.mirror import PackageDocument, ReleaseFile

# What is remembered of versions: most are "0.1.0" or the like, of many packages. A long one is somebody's joke.
_VERSIONS = 1 << 16
_VERSION_LENGTH = 40
# PEP 440 has nothing else; its reference implementation also reads a version with white space around it.
_WRITTEN = re.compile(r"[!-~]{1,255}")


class Release(NamedTuple):
    """A version and those of its files that were there to choose from."""

    version: str
    files: list[ReleaseFile]


class NotYetPublished(Exception):  # noqa: N818 - an outcome, not an error
    """The package's first file was uploaded after the moment asked about."""


def latest_release(document: PackageDocument, as_of: datetime) -> Release | None:
    """Return the newest release with a file uploaded by `as_of` (an aware datetime) and not yanked, with those files.

    Newest is by PEP 440, a pre-release only where there is nothing else; versions that are not PEP 440 do not count,
    as for pip. Spellings of one version (1.0 and 1.0.0) are one release, which has the name that sorts first. None if
    the package has no such release. Raises NotYetPublished if its first upload came after `as_of`.

    A document tells what was yanked, but not when, and nothing of what was deleted: what was yanked since `as_of`
    counts as yanked by then, what was deleted since as never uploaded. Every file counts, whatever Python
    (``requires_python``) or platform it needs: the pip meant here is nobody's in particular.
    """
    uploaded = {
        text: [file for file in files if uploaded_at(file) <= as_of] for text, files in document.releases.items()
    }
    if any(document.releases.values()) and not any(uploaded.values()):
        raise NotYetPublished(document.info.name)
    newest: Release | None = None
    highest: tuple[bool, Version] | None = None
    for text in sorted(uploaded):
        there = [file for file in uploaded[text] if not file.yanked]
        rank = _rank_of(text) if there else None
        if rank is None:
            continue
        if newest is None or highest is None or rank > highest:
            newest, highest = Release(text, there), rank
        elif rank == highest:
            newest.files.extend(there)
    return newest


def uploaded_at(file: ReleaseFile) -> datetime:
    """Return the upload time of a file in UTC; raises ValueError if upstream sent something else than ISO 8601."""
    time = datetime.fromisoformat(file.upload_time_iso_8601)
    return time if time.tzinfo is UTC else in_utc(time)


def in_utc(time: datetime) -> datetime:
    """Return `time` in UTC, in which a time without offset is; raises ValueError outside the years 1 to 9999."""
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(f"{time} lies outside the years 1 to 9999 in UTC") from error


def _rank_of(text: str) -> tuple[bool, Version] | None:
    return _remembered_rank(text) if len(text) <= _VERSION_LENGTH else _rank(text)


def _rank(text: str) -> tuple[bool, Version] | None:
    """Return what a version is compared by, or None if PEP 440 does not know it."""
    if not _WRITTEN.fullmatch(text):
        return None
    try:
        version = Version(text)
    except ValueError:  # InvalidVersion, or a number of more digits than Python converts
        return None
    return not version.is_prerelease, version


_remembered_rank = lru_cache(_VERSIONS)(_rank)
