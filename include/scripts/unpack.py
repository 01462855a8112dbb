# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacks archives, in place of Aura's own analyzer of them: every member is seen, and there is an end to it.

Aura lets one member that cannot be read end the scan, overwrites a member with a later one of the same name, opens
only what libmagic calls a zip, gzip or bzip2 file, and limits the size of single files alone. Here

* a member that fails costs no other member, unless the rest of a stream cannot be read after it;
* a member whose path is taken goes into a further directory, and is scanned like the first;
* a release file is opened as whatever it can be opened as, as installers do, and plain and .xz tar files everywhere;
* all archives of a package together may unpack to `MAX_BYTES` and `MAX_MEMBERS`, and what does not fit stays packed.

Whatever is not unpacked is an ``ArchiveAnomaly`` that says why. To be used by a process that scans one package.
"""

import itertools
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, BinaryIO, Self

from aura import config  # type: ignore[import-untyped]
from aura.analyzers import archive  # type: ignore[import-untyped]
from aura.analyzers.detections import Detection  # type: ignore[import-untyped]

import outcome
from failures import message

MAX_BYTES = 4 * 1024**3  # of a package; the largest on PyPI, libraries for GPUs, unpack to some 3 GiB
MAX_MEMBERS = 2**16  # files and directories of a package; as many as a zip file can hold without an extension
_CHUNK = 1024**2  # bytes
_ZIP = "application/zip"
_MORE_TARS = ("application/x-tar", "application/x-xz", "application/x-lzma")
_ZIP_NAMES = (".whl", ".zip", ".egg")
_TAR_NAMES = (".tar", ".tgz", ".tbz", ".tar.gz", ".tar.bz2", ".tar.xz", ".txz", ".tar.lzma")


class NoRoomError(Exception):
    """There is no room for a member of an archive: it would be more than `limit`. `reason` is Aura's kind of word."""

    def __init__(self, reason: str, limit: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.limit = limit


@dataclass
class _Used:
    """What has been unpacked of the package so far."""

    bytes: int = 0
    members: int = 0

    def add_member(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise NoRoomError("too_many_members", MAX_MEMBERS)

    def add_bytes(self, size: int) -> None:
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise NoRoomError("total_size_exceeded", MAX_BYTES)


_used = _Used()


def analyze(*, location: Any) -> Iterator[Any]:
    """Yield the directories that the archive at `location` was unpacked into, and what is odd about it.

    Nothing is yielded for a file that is no archive, except for a release file.
    """
    opened = False
    if _is_zip(location):
        opened = True
        yield from _Unpacking(location).run(_unpack_zip)
    if _is_tar(location):
        opened = True
        yield from _Unpacking(location).run(_unpack_tar)
    if not opened and location.parent is None:
        yield _anomaly(location, "unknown_format", "The file is no archive that can be unpacked")


class _Unpacking:
    """One archive on its way: the directories it is unpacked into, and what could not be done."""

    def __init__(self, location: Any) -> None:
        self.location = location
        self.path: Path = location.location
        self._directories: list[Path] = []
        self._made: set[Path] = set()
        self._next: dict[tuple[str, ...], int] = {}
        self._failures: list[tuple[str | None, Exception]] = []
        self._collisions: list[str] = []

    def run(self, unpack: Any) -> Iterator[Any]:
        """Unpack the archive with the function `unpack`; yield what there is to scan and to say about it."""
        count = _used.members
        try:
            yield from unpack(self)
            if self.location.parent is None and _used.members == count:
                raise zipfile.BadZipFile("it has no members")
        except NoRoomError as error:
            yield _anomaly(
                self.location,
                error.reason,
                "The archive was not unpacked further: the package has more than is allowed",
                limit=error.limit,
            )
        except Exception as error:  # whatever the bytes of an archive can make its reader raise
            self.fail(None, error)
        for directory in self._directories:
            yield self.location.create_child(parent=self.location, new_location=str(directory), cleanup=True)
        yield from self._report()

    def fail(self, name: str | None, error: Exception) -> None:
        """Note that the member `name`, or the archive as such, cannot be read; raises `error` if it ends the scan."""
        if outcome.ends_scan(error):
            raise error
        self._failures.append((name, error))

    def write(self, name: str, source: IO[bytes], size: int) -> None:
        """Write a member, declared to have `size` bytes, as a file of its own."""
        left = size
        with self._create(name) as target:
            while left and (chunk := source.read(min(_CHUNK, left))):
                target.write(chunk)
                left -= len(chunk)
        if source.read(1):  # which also has the checksum checked
            raise zipfile.BadZipFile("a member is larger than it is declared")

    def make_directory(self, name: str) -> None:
        """Make a directory that is a member; one whose path is taken by a file is made when it gets files."""
        self._make(self._directory(0), _parts(name))

    def _create(self, name: str) -> BinaryIO:
        parts = _parts(name)
        if not parts:
            raise zipfile.BadZipFile("a member without a name")
        first = self._next.get(parts, 0)
        for layer in itertools.count(first):
            directory = self._directory(layer)
            if not self._make(directory, parts[:-1]):
                continue
            try:
                file = directory.joinpath(*parts).open("xb")
            except FileExistsError:
                continue
            self._next[parts] = layer + 1
            if layer:
                self._collisions.append(name)
            return file
        raise AssertionError("unreachable")

    def _directory(self, layer: int) -> Path:
        if layer == len(self._directories):
            self._directories.append(Path(tempfile.mkdtemp()))
        return self._directories[layer]

    def _make(self, directory: Path, parts: tuple[str, ...]) -> bool:
        """Make a directory with those above it; return whether none of them is a file already."""
        for part in parts:
            directory = directory / part
            if directory in self._made:
                continue
            try:
                directory.mkdir()
            except FileExistsError:
                return False
            self._made.add(directory)
            _used.add_member()
        return True

    def _report(self) -> Iterator[Any]:
        # One detection of a kind: an archive of many bad members is no more telling than one of two.
        if self._failures:
            name, error = self._failures[0]
            detection = archive.ArchiveAnomaly.from_generic_exception(self.location, Exception(message(error)))
            detection.extra["exc_type"] = type(error).__name__
            if name is not None:
                detection.extra |= {"archive_path": name, "members": len(self._failures)}
            yield detection
        if self._collisions:
            yield _anomaly(
                self.location,
                "duplicate_member",
                "The archive contains members whose paths collide; each is unpacked for itself",
                archive_path=self._collisions[0],
                members=len(self._collisions),
            )


def _unpack_zip(unpacking: _Unpacking) -> Iterator[Any]:
    with zipfile.ZipFile(unpacking.path) as opened:
        for member in archive.filter_zip(arch=opened, path=unpacking.path):
            _used.add_member()
            if isinstance(member, Detection):
                yield member
                continue
            _used.add_bytes(member.file_size)
            try:
                if member.is_dir():
                    unpacking.make_directory(member.filename)
                else:
                    with opened.open(member) as source:
                        unpacking.write(member.filename, source, member.file_size)
            except NoRoomError:
                raise
            except Exception as error:  # damaged, encrypted, packed in a way Python does not know, a name too long
                unpacking.fail(member.filename, error)


class _Member(tarfile.TarInfo):
    """A member of a tar archive; where there should be one and is something else, the archive does not just end."""

    @classmethod
    def fromtarfile(cls, opened: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(opened)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            if opened.offset == 0:
                raise
            raise tarfile.SubsequentHeaderError(str(error)) from error  # type: ignore[attr-defined]


def _unpack_tar(unpacking: _Unpacking) -> Iterator[Any]:
    limit = config.get_maximum_archive_size()
    with tarfile.open(unpacking.path, tarinfo=_Member) as opened:
        for member in opened:  # not opened.getmembers(), which reads to the end of whatever this is first
            _used.add_member()
            if member.size < 0:
                raise tarfile.ReadError("a member of negative size")
            _used.add_bytes(member.size)  # of one that is not unpacked too: all of a stream has to be read
            one = SimpleNamespace(getmembers=[member].copy)
            found = list(archive.filter_tar(arch=one, path=unpacking.path, max_size=limit))
            if not found:
                yield _anomaly(
                    unpacking.location,
                    "member_is_special",
                    "The archive contains a device or another special file",
                    archive_path=member.name,
                )
            if found != [member]:
                yield from found
                continue
            try:
                if member.isdir():
                    unpacking.make_directory(member.name)
                elif source := opened.extractfile(member):
                    unpacking.write(member.name, source, member.size)
            except NoRoomError:
                raise
            except Exception as error:  # a name too long, or a stream that ends; then the next member fails as well
                unpacking.fail(member.name, error)


def _is_zip(location: Any) -> bool:
    mime = location.metadata["mime"]
    if mime == _ZIP:
        return True
    by_name = location.parent is None and (mime not in archive.SUPPORTED_MIME or _named(location, _ZIP_NAMES))
    return by_name and zipfile.is_zipfile(location.location)


def _is_tar(location: Any) -> bool:
    mime = location.metadata["mime"]
    if mime != _ZIP and mime in archive.SUPPORTED_MIME:
        return True
    by_name = location.parent is None and (mime != _ZIP or _named(location, _TAR_NAMES))
    if not by_name and mime not in _MORE_TARS:
        return False
    try:
        return tarfile.is_tarfile(location.location)
    except (EOFError, OSError, ValueError, RecursionError, zlib.error, lzma.LZMAError):
        return False


def _named(location: Any, endings: tuple[str, ...]) -> bool:
    return str(location.location).lower().endswith(endings)


def _parts(name: str) -> tuple[str, ...]:
    """Return the path of a member as it is on disk: in UTF-8, whatever it is in the archive."""
    written = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return tuple(part for part in written.split("/") if part not in ("", "."))


def _anomaly(location: Any, reason: str, message: str, **extra: Any) -> Any:
    return archive.ArchiveAnomaly(
        location=location.location,
        message=message,
        signature=f"archive_anomaly#{reason}#{location.location}",
        extra={"reason": reason, "mime": location.metadata["mime"], **extra},
    )
