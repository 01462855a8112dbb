"""The extract: what the datasets need of the mirror's JSON, so that each of its 700,000 documents is parsed once.

JSON lines, one a package, sorted by name: ``{"name": "requests", "requires_dist": ["idna<4,>=2.5", ...]}``.
`requires_dist` is as upstream sent it for the newest release, empty if there is none, and null where the document could
not be read: such a package exists, but what it depends on is not known.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

import msgspec

from pypi_scan.datasets.layout import EXTRACT
from pypi_scan.files import atomic_write
from pypi_scan.mirror import Mirror, MirrorError, PackageDocument
from pypi_scan.progress import with_progress

logger = logging.getLogger(__name__)

_UNREADABLE_LOGGED = 10  # one by one; the rest only as a count


class ExtractedPackage(msgspec.Struct, frozen=True):
    """One line of the extract."""

    name: str
    requires_dist: list[str] | None


class ExtractSummary(TypedDict):
    """Counts of packages."""

    packages: int
    unreadable: int


def write_extract(mirror: Mirror, directory: Path) -> ExtractSummary:
    """Read every document of `mirror` into the extract in `directory`; an unreadable one is logged and counted.

    Raises MirrorError if the mirror has no readable document at all: datasets made of that would replace good ones.
    """
    packages = unreadable = 0
    encoder = msgspec.json.Encoder()
    with atomic_write(directory / EXTRACT) as file:
        for package in _extracted(with_progress(mirror.documents(), "documents read")):
            file.write(encoder.encode(package) + b"\n")
            packages += 1
            unreadable += package.requires_dist is None
        if packages == unreadable:
            raise MirrorError(
                f"none of the {packages} JSON documents of {mirror.root} can be read: check that it is the mirror's "
                "directory and that pypi_sync has filled it"
            )
    logger.info("Extracted %d packages, %d of them unreadable", packages, unreadable)
    return ExtractSummary(packages=packages, unreadable=unreadable)


def read_extract(directory: Path) -> Iterator[ExtractedPackage]:
    """Yield the packages of the extract in `directory`, sorted by name."""
    decoder = msgspec.json.Decoder(ExtractedPackage)
    with (directory / EXTRACT).open("rb") as file:
        for line in file:
            yield decoder.decode(line)


def _extracted(documents: Iterable[tuple[str, PackageDocument | MirrorError]]) -> Iterator[ExtractedPackage]:
    unreadable = 0
    for name, document in documents:
        if isinstance(document, MirrorError):
            unreadable += 1
            if unreadable <= _UNREADABLE_LOGGED:
                logger.warning("Package without known dependencies: %s", document)
            yield ExtractedPackage(name, None)
        else:
            yield ExtractedPackage(name, document.info.requires_dist or [])
