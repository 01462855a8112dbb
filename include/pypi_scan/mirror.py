"""Read-only view of a mirror made by bandersnatch.

Layout (bandersnatch 8): ``<root>/status`` holds the serial, ``<root>/web/json/<name>`` the JSON document of a package
(the format of PyPI's ``/pypi/<name>/json``), ``<root>/web/packages/...`` the release files. A document lists every
release even where its files were filtered out: it never proves that a file exists.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from pypi_scan.names import is_canonical, printable


class MirrorError(Exception):
    """The mirror, or one document in it, cannot be read as what it should be."""


class ReleaseFile(msgspec.Struct, frozen=True, gc=False):
    """One distribution file, as PyPI's JSON describes it. Values are as upstream sent them: not yet checked."""

    filename: str
    url: str
    digests: dict[str, str]
    size: int
    upload_time_iso_8601: str
    packagetype: str | None = None
    python_version: str | None = None
    md5_digest: str | None = None
    yanked: bool = False


class PackageInfo(msgspec.Struct, frozen=True, gc=False):
    """The ``info`` part, as far as datasets and scans need it; it describes the newest release only."""

    name: str
    version: str | None = None
    summary: str | None = None
    home_page: str | None = None
    docs_url: str | None = None
    project_urls: dict[str, Any] | None = None
    classifiers: list[str] | None = None
    requires_dist: list[str] | None = None


class PackageDocument(msgspec.Struct, frozen=True):
    """A package's JSON document."""

    info: PackageInfo
    releases: dict[str, list[ReleaseFile]]
    last_serial: int = 0


_MAX_DOCUMENT_BYTES = 512 * 1024 * 1024  # the largest on PyPI have some 50 MB

_decoder = msgspec.json.Decoder(PackageDocument)


class Mirror:
    """The mirror below `root` (bandersnatch's ``directory``)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.web = root / "web"

    def serial(self) -> int:
        """Return the serial of the last consistent sync, 0 before the first."""
        try:
            return int((self.root / "status").read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
        except ValueError:
            raise MirrorError(
                f"{self.root / 'status'} does not hold a serial number; remove it, then run pypi_sync: it goes through "
                "the whole mirror and keeps the files that are right"
            ) from None

    def package_names(self) -> list[str]:
        """Return the canonical names of all packages that have a JSON document, sorted."""
        directory = self.web / "json"
        try:
            entries = [entry.name for entry in directory.iterdir()]
        except FileNotFoundError:
            raise MirrorError(f"{directory} does not exist: the mirror has not been synced yet") from None
        return sorted(name for name in entries if is_canonical(name))

    def document_stats(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (file name, what ``stat`` tells) for every file in the directory of the JSON documents, in no order.

        Names are not checked: for all of PyPI that takes as long as the rest. Raises MirrorError before the first sync.
        """
        directory = self.web / "json"
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise MirrorError(f"{directory} does not exist: the mirror has not been synced yet") from None
        try:  # relative to the directory: making and looking up a whole path each takes longer than stat itself
            for name in os.listdir(descriptor):  # noqa: PTH208 - Path takes no descriptor
                try:
                    yield name, os.stat(name, dir_fd=descriptor)
                except FileNotFoundError:
                    continue  # removed since it was listed
        finally:
            os.close(descriptor)

    def json_path(self, name: str) -> Path:
        """Return where the JSON document of the package with this canonical name lies."""
        return self.web / "json" / name

    def read_ahead(self, names: Iterable[str]) -> None:
        """Have the JSON documents of these packages read from the disk, which is slow at one file after the other."""
        for name in names:
            with suppress(OSError):  # whoever reads the document says what is wrong with it
                descriptor = os.open(self.json_path(name), os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(descriptor)

    def document(self, name: str) -> PackageDocument:
        """Read the JSON document of the package with this canonical name; raises MirrorError if it is not readable."""
        return self.decoded(name, _decoder)

    def decoded[Document](self, name: str, decoder: msgspec.json.Decoder[Document]) -> Document:
        """Read what `decoder` takes of a package's JSON document; raises MirrorError if it is not readable."""
        try:
            with self.json_path(name).open("rb", buffering=0) as file:
                if (size := os.fstat(file.fileno()).st_size) > _MAX_DOCUMENT_BYTES:
                    raise MirrorError(f"the mirror's JSON of {name} has {size} bytes, and none has so many")
                return decoder.decode(file.read())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MirrorError(f"the mirror's JSON of {name} cannot be read: {printable(error)}") from error

    def documents(self) -> Iterator[tuple[str, PackageDocument | MirrorError]]:
        """Yield (name, document) for every package, sorted by name; an unreadable document comes as its error."""
        for name in self.package_names():
            try:
                yield name, self.document(name)
            except MirrorError as error:
                yield name, error
