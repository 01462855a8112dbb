"""One package over the scans of this host: what each said of it, its record, and what is new between two records."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pypi_scan.editions.database import quoted
from pypi_scan.monitor.packed_scans import PackedScan
from pypi_scan.monitor.parquet_queries import ask
from pypi_scan.names import printable
from pypi_scan.read_package import ReadError, record_line
from pypi_scan.record import Detection, NotARecordError, Record, decode_record, fingerprint

_MOST_BYTES = 64 * 1024 * 1024  # of a record that a page is made of
_MOST_NAMES = 100  # that a search answers with


class TooLargeError(Exception):
    """A record is too large for a page; the message says how to read it."""


class InScan(NamedTuple):
    """What a scan says of a package. `frame` is where its record lies; without one it has no score and detections."""

    scan: PackedScan
    frame: tuple[int, int] | None
    version: str | None
    status: str
    reason: str | None
    score: int | None
    detections: int | None
    files: int
    bytes: int
    seconds: float


class Difference(NamedTuple):
    """A detection that one of two records has, in however many files."""

    type: str
    fingerprint: str
    message: str
    severity: str
    score: float


class Changes(NamedTuple):
    """What is different between two records."""

    added: list[Difference]
    removed: list[Difference]


def history(scans: Sequence[PackedScan], package: str) -> list[InScan]:
    """Return what each of `scans` says of the package of this canonical name, in their order; raises EditionError."""
    if not scans:
        return []
    scan_of = {str(scan.packages): scan for scan in scans}
    rows = ask(
        scans[0].directory,
        f"SELECT filename, frame_offset, frame_length, version, status, reason, "
        f"if(frame_length IS NULL, NULL, score), if(frame_length IS NULL, NULL, detections), files, bytes, seconds "
        f"FROM read_parquet([{', '.join(quoted(scan.packages) for scan in scans)}], filename = true) "
        f"WHERE package = $package",
        {"package": package},
    )
    found = {
        name: InScan(scan_of[name], None if length is None else (offset, length), *said)
        for name, offset, length, *said in rows
    }
    return [found[name] for name in scan_of if name in found]


def names_like(scan: PackedScan, start: str) -> list[str]:
    """Return the packages of a scan whose names begin so, 100 at most, sorted; raises EditionError."""
    rows = ask(
        scan.packages,
        f"SELECT package FROM read_parquet({quoted(scan.packages)}) "
        f"WHERE package >= $start AND package < $start || chr(1114111) ORDER BY package LIMIT {_MOST_NAMES}",
        {"start": start},
    )
    return [name for (name,) in rows]


def read_record(found: InScan, package: str) -> Record | None:
    """Return the record of a package that a scan has found, None if it has none.

    Raises ReadError if the dataset is damaged, TooLargeError for a record of over 64 MiB.
    """
    if found.frame is None:
        return None
    offset, length = found.frame
    line = record_line(_read(found.scan.records, offset, length), package)
    if line is None:
        raise ReadError(f"{found.scan.records} has no record of {package} at byte {offset}; clear the task pack")
    if len(line) > _MOST_BYTES:
        raise TooLargeError(
            f"The record has {len(line) >> 20} MiB, too many for a page. Read it with: "
            f"python -m pypi_scan.read_package {found.scan.directory} {package}"
        )
    try:
        return decode_record(line.decode())
    except (NotARecordError, UnicodeDecodeError) as error:
        raise ReadError(f"{found.scan.records}: the record of {package} is damaged: {printable(error)}") from error


def compare(before: Record, now: Record) -> Changes:
    """Return what is new in a record and what is gone, as changes.jsonl.zst tells it: without paths and lines."""
    old, new = _differences(before.detections), _differences(now.detections)
    return Changes(
        [new[key] for key in sorted(new.keys() - old.keys())], [old[key] for key in sorted(old.keys() - new.keys())]
    )


def _differences(detections: Iterable[Detection]) -> dict[tuple[str, str], Difference]:
    """Return (type, fingerprint) -> what the detections that share these say: the first message, the worst score."""
    found: dict[tuple[str, str], Difference] = {}
    for one in detections:
        difference = Difference(one.type, fingerprint(one), one.message, one.severity, one.score)
        key = (difference.type, difference.fingerprint)
        other = found.get(key, difference)
        worst = max(other, difference, key=lambda one: (one.score, one.severity))
        found[key] = worst._replace(message=min(other.message, difference.message))
    return found


def _read(path: Path, offset: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}; clear the task pack of that scan") from error
