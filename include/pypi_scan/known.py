"""Putting the records that were kept in their place among those that a worker made.

``known.jsonl`` is what a worker says of the known packages of a shard, one line each, sorted by name:
``{"detections": [...], "name"}``, or ``{"detections": null, "name", "reason"}`` if that failed. After `add_known` the
results are as if the worker had scanned these packages too, but for their status.
"""

import heapq
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from pypi_scan.files import atomic_write
from pypi_scan.frames import cut_into_frames
from pypi_scan.names import printable
from pypi_scan.package_detections import PackageDetection, Parts, join
from pypi_scan.record import Detection
from pypi_scan.record_store import RecordKeys, RecordStore
from pypi_scan.results import (
    KNOWN,
    RECORDS,
    STATUSES,
    ResultsError,
    check_block,
    open_result,
    package_of_record,
    read_frames,
    read_statuses,
)
from pypi_scan.shard import ShardPackage
from pypi_scan.status import PackageStatus, ScannedFile

_MAX_LINE_BYTES = 32 * 1024 * 1024  # of a description; all dependents of the most used package are some 3 MB


class _Line(NamedTuple):
    """A record, and the frame of the worker's file that it is from: offset and length in bytes, nothing if kept."""

    name: str
    block: int
    content: bytes
    frame: tuple[int, int] | None = None


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of ``known.jsonl``."""

    detections: list[msgspec.Raw] | None
    name: str
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=400)] | None = None


class _PackageDetection(Detection, frozen=True):
    """A detection in such a line."""

    type: PackageDetection
    score: Annotated[int, msgspec.Meta(gt=-(2**53), lt=2**53)]


_description_decoder = msgspec.json.Decoder(_Description)
_detection_decoder = msgspec.json.Decoder(_PackageDetection)


def add_known(
    packages: Mapping[str, ShardPackage], directory: Path, keys: RecordKeys, store: RecordStore
) -> list[bytes]:
    """Add the records and statuses of the known packages of a shard to the worker's results in `directory`.

    `packages` are all of the shard, by name and in order. A known one that the worker could not describe has the status
    ``crash``; returned are the keys of the records of such, to be removed from the store if the results are accepted:
    else a lie would take them from the worker that is asked next. Raises ResultsError if the worker does not say of
    each of them what it should, or if a record is not in the store any more, and RecordStoreError.
    """
    known = [package for package in packages.values() if package.known]
    descriptions = _read_descriptions(directory / KNOWN, known)
    if not known:
        for _ in descriptions:  # none comes, unless the worker describes what nobody asked about
            pass
        return []
    forget: list[bytes] = []
    statuses: list[PackageStatus] = []
    lines = heapq.merge(
        _lines_of_worker(directory / RECORDS, packages),
        _kept_lines(descriptions, keys, store, statuses, forget),
        key=lambda line: line.name,
    )
    with atomic_write(directory / RECORDS) as file:
        file.writelines(_frames(lines, {package.block for package in known}, directory / RECORDS))
    merged = heapq.merge(read_statuses(directory), statuses, key=lambda status: status.name)
    with atomic_write(directory / STATUSES) as file:
        file.writelines(msgspec.json.encode(status) + b"\n" for status in merged)
    return forget


def _read_descriptions(path: Path, known: list[ShardPackage]) -> Iterator[tuple[ShardPackage, _Description]]:
    """Yield each known package with what the worker says of it; one line is in memory at a time."""
    with open_result(path) as file:
        for package in known:
            line = file.readline(_MAX_LINE_BYTES)
            if not line.endswith(b"\n"):
                raise ResultsError(f"{path.name}: no whole line about {package.name!r}: {line[:200]!r}")
            try:
                description = _description_decoder.decode(line)
                for raw in description.detections or ():
                    _detection_decoder.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise ResultsError(f"{path.name}: not what is asked: {printable(error)}: {line[:200]!r}") from None
            if description.name != package.name:
                raise ResultsError(f"{path.name}: {description.name!r:.80} in place of {package.name!r}")
            if (description.detections is None) != (description.reason is not None):
                raise ResultsError(f"{path.name}: {package.name!r} has either detections or a reason")
            yield package, description
        if line := file.readline(200):
            raise ResultsError(f"{path.name}: more lines than known packages: {line!r}")


def _lines_of_worker(path: Path, packages: Mapping[str, ShardPackage]) -> Iterator[_Line]:
    for offset, length, lines in read_frames(path):
        owners = [package_of_record(path.name, line, packages) for line in lines]
        check_block(path.name, owners)
        for package, line in zip(owners, lines, strict=True):
            yield _Line(package.name, package.block, line, (offset, length))


def _kept_lines(
    descriptions: Iterator[tuple[ShardPackage, _Description]],
    keys: RecordKeys,
    store: RecordStore,
    statuses: list[PackageStatus],
    forget: list[bytes],
) -> Iterator[_Line]:
    """Yield the records of the known packages; add the status of each to `statuses`, the key of none to `forget`."""
    for package, description in descriptions:
        key, files = keys.key(package.release), [ScannedFile(f.path, f.sha256, f.size) for f in package.files]
        if description.detections is None:
            forget.append(key)
            statuses.append(PackageStatus(package.name, package.version, "crash", description.reason, files=files))
            continue
        kept = dict(store.get([key])).get(key)
        if kept is None:
            raise ResultsError(
                f"the record of {package.name!r} was kept when the scan was divided, and is no more; clear the task "
                "divide"
            )
        whole = join(Parts(bytes(kept.record), description.detections))
        statuses.append(
            PackageStatus(
                name=package.name,
                version=package.version,
                status="reused",
                reason=None,
                record=True,
                seconds=kept.seconds,
                cpu_seconds=kept.cpu_seconds,
                peak_memory_bytes=kept.peak_memory_bytes,
                bytes=kept.bytes,
                detections=whole.detections,
                score=whole.score,
                files=files,
            )
        )
        yield _Line(package.name, package.block, whole.line)


def _frames(lines: Iterator[_Line], changed: set[int], path: Path) -> Iterator[bytes]:
    """Yield the frames of all lines: anew of the blocks that `changed`, of others as they are in the file at `path`."""
    with open_result(path) as file:
        for block, of_block in groupby(lines, key=lambda line: line.block):
            if block in changed:
                yield from cut_into_frames(line.content for line in of_block)
                continue
            for frame, _ in groupby(of_block, key=lambda line: line.frame):
                assert frame is not None  # of no known package
                offset, length = frame
                file.seek(offset)
                yield file.read(length)
