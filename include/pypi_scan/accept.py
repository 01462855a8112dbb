"""Accepting a shard: its results are checked, and made ready to be packed while other shards are still being scanned.

Records that were kept are added first and checked with the others, and new ones are kept for the next scan. What
packing needs beside the checked results is written into their directory: ``frames.json``, ``rejected.jsonl`` and the
parts of the editions. A record that is rejected leaves its frame, and its package's status says so.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from pypi_scan.editions.parts import writing_parts
from pypi_scan.files import atomic_write
from pypi_scan.frames import compressed_frame
from pypi_scan.known import add_known
from pypi_scan.package_detections import NotSeparableError, split
from pypi_scan.record_store import KeptRecord, RecordKeys, RecordStore
from pypi_scan.results import (
    RECORDS,
    STATUSES,
    CheckedResults,
    Frame,
    ResultsError,
    Scanner,
    check_results,
    difference,
    read_frames,
    read_scanner,
    read_statuses,
)
from pypi_scan.shard import ShardPackage, read_shard

log = logging.getLogger(__name__)

FRAMES = "frames.json"
REJECTED = "rejected.jsonl"


class ShardSummary(msgspec.Struct, frozen=True):
    """Counts of a shard's accepted results."""

    packages: int
    records: int
    by_status: dict[str, int]


class RejectedRecord(msgspec.Struct, frozen=True):
    """A line of ``rejected.jsonl``; the record itself is not in it, for nobody knows what it quotes."""

    name: str
    version: str | None
    reason: str


def accept_results(
    shard: Path, directory: Path, scanner: Scanner, store: RecordStore, *, keep_secrets: bool = False
) -> ShardSummary:
    """Check the results in `directory` against their shard and make them ready to be packed.

    `scanner` is what the scan was divided for, and `store` has the records of the known packages and takes those of the
    others. A record that quotes a secret is rejected, unless `keep_secrets`. Raises ResultsError if they are not what
    the shard asked for, and RecordStoreError.
    """
    if (found := read_scanner(directory).identity) != scanner.identity:
        raise ResultsError(
            "scanner.json: not the scanner that the scan was divided for: "
            f"{difference(scanner.identity, found)}; clear the task prepare with all that follows"
        )
    packages = {package.name: package for package in read_shard(shard)}
    keys = RecordKeys(scanner)
    forget = add_known(packages, directory, keys, store)
    with writing_parts(directory) as parts:
        checked = check_results(packages, directory, parts.add, keep_secrets=keep_secrets)
    frames, by_status = checked.frames, checked.by_status
    rejected = []
    if checked.rejected:
        frames = _remove_records(directory / RECORDS, checked)
        rejected = _mark_rejected(directory / STATUSES, checked.rejected)
        by_status = dict(Counter(status.status for status in read_statuses(directory)))
        forget += [keys.key(packages[name].release) for name in checked.rejected]
    store.remove(forget)
    store.put(_to_keep(packages, directory, frames, keys))
    _write_lines(directory / REJECTED, rejected)
    with atomic_write(directory / FRAMES) as file:
        file.write(msgspec.json.encode(frames))
    return ShardSummary(sum(by_status.values()), sum(len(frame.names) for frame in frames), by_status)


def read_frame_list(directory: Path) -> list[Frame]:
    """Return the frames of a shard's accepted records."""
    return msgspec.json.decode((directory / FRAMES).read_bytes(), type=list[Frame])


def _to_keep(
    packages: Mapping[str, ShardPackage], directory: Path, frames: Iterable[Frame], keys: RecordKeys
) -> Iterator[tuple[bytes, KeptRecord]]:
    """Yield the entries of the record store that the accepted records become."""
    whole = {status.name: status for status in read_statuses(directory) if status.status == "ok"}
    for frame, (_, _, lines) in zip(frames, read_frames(directory / RECORDS), strict=True):
        for name, line in zip(frame.names, lines, strict=True):
            if (status := whole.get(name)) is None:
                continue
            try:
                record = msgspec.Raw(split(line).record)
            except NotSeparableError as error:
                log.info("the record of %s is not kept for the next scan: %s", name, error)
                continue
            took = (status.seconds, status.cpu_seconds, status.peak_memory_bytes, status.bytes)
            yield keys.key(packages[name].release), KeptRecord(record, *took)


def _remove_records(path: Path, checked: CheckedResults) -> list[Frame]:
    """Write the records anew without the rejected ones; frames that have none of these stay as they are."""
    kept, offset = [], 0
    with atomic_write(path) as target, path.open("rb") as source:
        for frame, (_, _, lines) in zip(checked.frames, read_frames(path), strict=True):
            names = [name for name in frame.names if name not in checked.rejected]
            if not names:
                continue
            if names == frame.names:
                source.seek(frame.offset)
                content = source.read(frame.length)
            else:
                lines = [line for name, line in zip(frame.names, lines, strict=True) if name not in checked.rejected]
                content = compressed_frame(lines)
            target.write(content)
            kept.append(Frame(offset, len(content), names))
            offset += len(content)
    return kept


def _mark_rejected(path: Path, rejected: dict[str, str]) -> list[RejectedRecord]:
    """Let the statuses say which packages have no record now, and return these."""
    found, statuses = [], []
    for status in read_statuses(path.parent):
        if reason := rejected.get(status.name):
            found.append(RejectedRecord(status.name, status.version, reason))
            log.warning("the record of %s is rejected: %s", status.name, reason)
            status = msgspec.structs.replace(
                status, status="rejected", reason=reason, record=False, detections=0, score=0
            )
        statuses.append(status)
    _write_lines(path, statuses)
    return found


def _write_lines(path: Path, values: Iterable[msgspec.Struct]) -> None:
    with atomic_write(path) as file:
        file.writelines(msgspec.json.encode(value) + b"\n" for value in values)
