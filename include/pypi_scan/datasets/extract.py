"""The extract: what the datasets need of the mirror's JSON, kept from run to run, so that only changes are parsed.

A file of ASCII lines: a header, then a row a document, sorted. The columns of a row are separated by tabs: canonical
name, stamp, count of requirements that do not parse, and the canonical names that the newest release needs, as a sorted
JSON list - null where the document could not be read: such a package exists, but what it needs is not known.

The stamp tells the state of the document that the row was made of; one whose inode, size and time of change are still
the same is not read again. So nothing depends on which runs there were or how they ended: each compares with what the
mirror is now, and replaces the file as a whole.

Looking at 700,000 documents takes seconds. bandersnatch replaces documents by renaming, which changes the directory: if
the directory is as it was, so are they. A document rewritten in place is thus seen with the next change of any other.
"""

import hashlib
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TypedDict

import msgspec

from pypi_scan.datasets.layout import EXTRACT
from pypi_scan.datasets.made import recipe
from pypi_scan.datasets.requirements import dependency_names
from pypi_scan.files import atomic_write
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.names import is_canonical
from pypi_scan.progress import with_progress

logger = logging.getLogger(__name__)

_UNREADABLE_LOGGED = 10  # one by one; the rest only as a count
# Nanoseconds. File systems count time in steps of up to two seconds; what is younger may change again within its step.
_SETTLED = 2_000_000_000
_UNKNOWN = ""

type Stamp = str
"""Inode, size in bytes and time of modification in nanoseconds; _UNKNOWN for what must be looked at again."""

type Row = bytes
"""A line of the extract, with its end."""


class ExtractedPackage(msgspec.Struct, frozen=True, gc=False):
    """A row as far as datasets need it; `dependencies` is a JSON list of canonical names, None if not known."""

    name: bytes
    unparsable: int
    dependencies: bytes | None


class _Info(msgspec.Struct, gc=False):
    name: str
    requires_dist: list[str] | None = None


class _Document(msgspec.Struct, gc=False):
    """What the extract takes of a document; the releases, which are most of it, are only passed over."""

    info: _Info
    releases: msgspec.Raw


class ExtractSummary(TypedDict):
    """Counts of packages; `gone` ones are not among the `packages`. `read` counts documents read in this run."""

    packages: int
    unreadable: int
    gone: int
    read: int


class ExtractHeader(msgspec.Struct, frozen=True):
    """The first line, in JSON: what the rows were made of, and digests of what the datasets are made of."""

    recipe: str
    documents: Stamp
    gone: list[str]
    names: str
    dependencies: str
    summary: ExtractSummary


_encode = msgspec.json.Encoder().encode
_document_decoder = msgspec.json.Decoder(_Document)


def write_extract(mirror: Mirror, directory: Path, gone: Collection[str] = ()) -> ExtractSummary:
    """Bring the extract in `directory` up to date with `mirror`; an unreadable document is logged and counted.

    The packages with the canonical names `gone` are in no dataset, though the mirror has their documents. Raises
    MirrorError if no other document can be read: datasets made of that would replace good ones.
    """
    now = time.time_ns()
    documents = _directory_stamp(mirror, now)
    last = _last_header(directory)
    if last and documents != _UNKNOWN and (last.documents, last.gone) == (documents, sorted(gone)):
        logger.info("The mirror's documents are as they were: %d packages", last.summary["packages"])
        return {**last.summary, "read": 0}
    rows, read = _current_rows(mirror, _rows(directory) if last else (), now)
    header = _header(rows, documents, frozenset(gone), read)
    summary = header.summary
    if summary["packages"] == summary["unreadable"]:
        raise MirrorError(
            f"none of the {len(rows)} JSON documents of {mirror.root} can be read: check that it is the mirror's "
            "directory and that pypi_sync has filled it"
        )
    with atomic_write(directory / EXTRACT) as file:
        file.write(_encode(header) + b"\n")
        file.writelines(rows)
    logger.info("Extracted %(packages)d packages, %(unreadable)d of them unreadable; %(gone)d are gone", summary)
    logger.info("%d documents read", read)
    return summary


def read_header(directory: Path) -> ExtractHeader:
    """Return the header of the extract in `directory`."""
    with (directory / EXTRACT).open("rb") as file:
        return msgspec.json.decode(file.readline(), type=ExtractHeader)


def read_names(directory: Path) -> Iterator[str]:
    """Yield the names of the packages of the extract in `directory`, sorted, without those that are gone."""
    for name, _, _, _ in _present(_rows(directory), read_header(directory).gone):
        yield name.decode()


def read_extract(directory: Path) -> Iterator[ExtractedPackage]:
    """Yield the packages of the extract in `directory`, sorted by name, without those that are gone."""
    for name, _, unparsable, dependencies in _present(_rows(directory), read_header(directory).gone):
        yield ExtractedPackage(name, int(unparsable), None if dependencies == b"null" else dependencies)


def _last_header(directory: Path) -> ExtractHeader | None:
    """Return the header of the last extract; None if there is none that this code made."""
    try:
        header = read_header(directory)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return header if header.recipe == recipe() else None


def _rows(directory: Path) -> Iterator[Row]:
    with (directory / EXTRACT).open("rb") as file:
        next(file)
        yield from file


def _present(rows: Iterable[Row], gone: Iterable[str]) -> Iterator[list[bytes]]:
    """Yield the columns of the rows whose packages are not gone."""
    left_out = {name.encode() for name in gone}
    for row in rows:
        columns = row[:-1].split(b"\t")
        if columns[0] not in left_out:
            yield columns


def _directory_stamp(mirror: Mirror, now: int) -> Stamp:
    try:
        return _stamp(mirror.json_path("").stat(), now)
    except FileNotFoundError:
        return _UNKNOWN


def _stamp(stat: os.stat_result, now: int) -> Stamp:
    time_ns = stat.st_mtime_ns
    return f"{stat.st_ino} {stat.st_size} {time_ns}" if time_ns + _SETTLED < now else _UNKNOWN


def _current_rows(mirror: Mirror, known: Iterable[Row], now: int) -> tuple[list[Row], int]:
    """Return a row for each document, sorted, and how many documents were read for it."""
    # Taken before the documents are read: one that is replaced in between is read again by the next run.
    heads = {f"{name}\t{_stamp(stat, now)}".encode(errors="surrogateescape") for name, stat in mirror.document_stats()}
    rows = []
    for row in known:
        head = row.rsplit(b"\t", 2)[0]  # name and stamp; one that ends in a tab has none
        if head in heads and not head.endswith(b"\t"):
            rows.append(row)
            heads.remove(head)
    stamps = (head.decode(errors="surrogateescape").rpartition("\t") for head in heads)
    changed = sorted((name, stamp) for name, _, stamp in stamps if is_canonical(name))
    rows += _extracted(mirror, with_progress(changed, "documents read"))
    rows.sort()  # by name: a tab comes before whatever a longer name goes on with
    return rows, len(changed)


def _extracted(mirror: Mirror, changed: Iterable[tuple[str, Stamp]]) -> Iterator[Row]:
    unreadable = 0
    for name, stamp in changed:
        try:
            document = mirror.decoded(name, _document_decoder)
        except MirrorError as error:
            unreadable += 1
            if unreadable <= _UNREADABLE_LOGGED:
                logger.warning("Package without known dependencies: %s", error)
            passing = isinstance(error.__cause__, OSError)  # unlike what is written in the document
            yield f"{name}\t{_UNKNOWN if passing else stamp}\t0\tnull\n".encode("ascii")
        else:
            names, unparsable = dependency_names(document.info.requires_dist or [])
            yield b"%s\t%s\t%d\t%s\n" % (name.encode("ascii"), stamp.encode("ascii"), unparsable, _encode(names))


def _header(rows: list[Row], documents: Stamp, gone: frozenset[str], read: int) -> ExtractHeader:
    """Return the header for `rows`; unless they are all settled, the next run must look at the documents again."""
    names, dependencies = hashlib.sha256(), hashlib.sha256()
    packages = unreadable = 0
    settled = True
    for name, stamp, unparsable, needed in _present(rows, gone):
        names.update(name + b"\n")
        dependencies.update(b"%s\t%s\t%s\n" % (name, unparsable, needed))
        packages += 1
        unreadable += needed == b"null"
        settled = settled and stamp != b""
    return ExtractHeader(
        recipe=recipe(),
        documents=documents if settled else _UNKNOWN,
        gone=sorted(gone),
        names=names.hexdigest(),
        dependencies=dependencies.hexdigest(),
        summary=ExtractSummary(packages=packages, unreadable=unreadable, gone=len(rows) - packages, read=read),
    )
