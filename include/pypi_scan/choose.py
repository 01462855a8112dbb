"""Choosing the release of each package that a scan takes: checked, and cut down to what a scan needs of it."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from pypi_scan.mirror import Mirror, MirrorError, PackageDocument, ReleaseFile
from pypi_scan.names import HostileInputError, canonical_name, check_sha256, mirror_path
from pypi_scan.record import RecordFile
from pypi_scan.release import NotYetPublished, Release, latest_release, uploaded_at
from pypi_scan.shard import PlannedRelease
from pypi_scan.status import PackageStatus


class Chosen(msgspec.Struct):
    """What some packages add to a plan: names, lines about those not scanned, lines of the others' releases.

    `files` and `bytes` are those of the releases. Packages that were not there yet are in none of it.
    """

    names: list[str]
    unscannable: list[bytes]
    releases: list[bytes]
    files: int = 0
    bytes: int = 0


def choose(mirror: Mirror, names: Iterable[str], as_of: datetime) -> Chosen:
    """Choose the releases of packages, in the order of their `names`, as of an aware datetime."""
    made = Chosen([], [], [])
    for name in names:
        chosen = _choose(mirror, name, as_of)
        if chosen is None:
            continue
        made.names.append(name)
        line = msgspec.json.encode(chosen) + b"\n"
        if isinstance(chosen, PackageStatus):
            made.unscannable.append(line)
            continue
        made.releases.append(line)
        made.files += len(chosen.files)
        made.bytes += sum(file.size for file in chosen.files)
    return made


def iso_8601(time: datetime) -> str:
    """Return a time in UTC to the second; ``strftime`` leaves out the zeros of years before 1000."""
    return time.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _choose(mirror: Mirror, name: str, as_of: datetime) -> PlannedRelease | PackageStatus | None:
    """Return the release of a package to scan, or why there is none; None if it was not there at `as_of`."""
    try:
        document = mirror.document(name)
        if canonical_name(document.info.name) != name:
            raise HostileInputError(f"the document is that of {document.info.name!r:.120}")
        release = latest_release(document, as_of)
        if release is None:
            return PackageStatus(name, None, "no_release", _why_no_release(document, as_of))
        return _planned_release(name, document, release)
    except NotYetPublished:
        return None
    except (MirrorError, HostileInputError, ValueError) as error:
        return PackageStatus(name, None, "skipped", f"bad metadata: {error!s:.300}")


def _checked_file(file: ReleaseFile) -> RecordFile:
    if not 0 <= file.size < 2**40:
        raise HostileInputError(f"size of {file.size} bytes for {file.filename!r:.120}")
    return RecordFile(
        path=mirror_path(file.url),
        sha256=check_sha256(file.digests.get("sha256", "")),
        size=file.size,
        upload_time=iso_8601(uploaded_at(file)),
    )


def _planned_release(name: str, document: PackageDocument, release: Release) -> PlannedRelease:
    files = [_checked_file(file) for file in release.files]
    if len({file.path for file in files}) != len(files):
        raise HostileInputError("two files of the release lie at the same path")
    trimmed = [
        {
            "filename": checked.path.rpartition("/")[2],
            "url": "/" + checked.path,
            "packagetype": file.packagetype,
            "python_version": file.python_version,
            "md5_digest": file.md5_digest or file.digests.get("md5"),
            "digests": {"sha256": checked.sha256},
            "size": file.size,
            "upload_time_iso_8601": checked.upload_time,
        }
        for file, checked in zip(release.files, files, strict=True)
    ]
    info = {**msgspec.to_builtins(document.info), "version": release.version}
    json = {"info": info, "releases": {release.version: trimmed}, "urls": trimmed}
    return PlannedRelease(files, msgspec.Raw(msgspec.json.encode(json, order="sorted")), name, release.version)


def _why_no_release(document: PackageDocument, as_of: datetime) -> str:
    files = [file for release in document.releases.values() for file in release if uploaded_at(file) <= as_of]
    if not files:
        return "no file was ever uploaded"
    if all(file.yanked for file in files):
        return "every file is yanked"
    return "no release that is not yanked has a version that PEP 440 knows"
