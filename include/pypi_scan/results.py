"""What a worker returned for a shard, checked before anything else touches it.

A worker opens malware for a living: what comes back from it is untrusted. A shard's results are a directory of
`RESULT_FILES`; `check_results` accepts it only if every package of the shard has its status, every record belongs to a
package of the shard and says so, and nothing is larger than a scan could have made it.
"""

import io
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import zstandard

from pypi_scan.status import PackageStatus

RESULT_FILES = ("records.jsonl.zst", "status.jsonl", "joblog.txt", "scanner.json")
JOBLOG_HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
MAX_RECORD_BYTES = 256 * 1024 * 1024
MAX_WINDOW_BYTES = 2**27  # what every zstd reader accepts without being asked to
_MAX_STATUS_LINE_BYTES = 4 * 1024 * 1024
_MAX_SCANNER_BYTES = 64 * 1024
_STATUSES_AT_A_TIME = 50
_COMPRESSED_BLOCK = 1024  # bytes; four of them can stand for 128 KiB, so this is at most 32 MiB of content
_JOBLOG_ROW = re.compile(r"\d+\t[!-~]+\t *\d+\.\d{3}\t *\d+\.\d{3}\t\d+\t\d+\t-?\d+\t\d+\tscan ([a-z0-9-]+)")
# Printable, short, on one line: it goes into the dataset's README and onto the index page.
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{1,80}\Z")]


class ResultsError(Exception):
    """A worker's results are not what the shard asked for. The message says which file and why."""


class ShardFile(msgspec.Struct, frozen=True):
    """A distribution file of a shard's package, or of its record."""

    path: str
    sha256: str
    size: int


class ShardPackage(msgspec.Struct, frozen=True):
    """A line of a shard, as far as its results are checked against it."""

    name: str
    version: str
    files: list[ShardFile]


class RecordOrigin(msgspec.Struct, frozen=True):
    """The key ``pypi`` that the engine adds to Aura's record, as far as it is checked against the shard."""

    name: str
    version: str
    files: list[ShardFile]


class Record(msgspec.Struct, frozen=True):
    """A record as Aura 2.1 writes it, plus ``pypi``. Only its shape is checked; the content stays as it is."""

    detections: list[dict[str, Any]]
    imported_modules: list[str]
    tags: list[str]
    metadata: dict[str, Any]
    score: int | float
    name: str
    pypi: RecordOrigin


class Scanner(msgspec.Struct, frozen=True):
    """What ``scanner.json`` holds: the scanner that made a shard's records, its version and settings."""

    scanner: _Word
    version: _Word
    python: _Word
    settings: dict[str, int | float | str | bool | None]


class ShardSummary(msgspec.Struct, frozen=True):
    """Counts of a shard's checked results."""

    packages: int
    records: int
    by_status: dict[str, int]


_record_decoder = msgspec.json.Decoder(Record)
_status_decoder = msgspec.json.Decoder(PackageStatus)


def check_results(shard: Path, directory: Path) -> ShardSummary:
    """Check a shard's results against the shard; raises ResultsError at the first thing that is not right."""
    packages = {package.name: package for package in read_shard(shard)}
    expected: set[str] = set()
    by_status: Counter[str] = Counter()
    missing = set(packages)
    for status in read_statuses(directory):
        _check_status(status, packages)
        missing.remove(status.name)
        by_status[status.status] += 1
        if status.record:
            expected.add(status.name)
    if missing:
        raise ResultsError(f"status.jsonl: no status of {_some(missing)}")
    records = len(expected)
    for name in _checked_record_names(directory / "records.jsonl.zst", packages):
        if name not in expected:
            raise ResultsError(f"records.jsonl.zst: a record of {name!r}, whose status says it has none")
        expected.remove(name)
    if expected:
        raise ResultsError(f"records.jsonl.zst: no record of {_some(expected)}")
    untried = set(packages)
    for row in read_joblog(directory):
        name = row.rpartition("\tscan ")[2]
        if name not in untried:
            reason = "comes twice" if name in packages else "is not in the shard"
            raise ResultsError(f"joblog.txt: a row of a package that {reason}: {row!r:.200}")
        untried.remove(name)
    read_scanner(directory)
    return ShardSummary(len(packages), records, dict(by_status))


def read_shard(path: Path) -> Iterator[ShardPackage]:
    """Yield the packages of a shard, in its order (by name)."""
    for line in _lines(path, MAX_RECORD_BYTES):
        yield msgspec.json.decode(line, type=ShardPackage)


def read_statuses(directory: Path) -> Iterator[PackageStatus]:
    """Yield the status lines of a shard's results, in order of name; raises ResultsError if they are not.

    The file is not kept open: packing reads those of a thousand shards side by side.
    """
    previous = ""
    path = directory / "status.jsonl"
    for line in _lines_with_file_closed(path, _MAX_STATUS_LINE_BYTES):
        try:
            status = _status_decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ResultsError(f"{path.name}: not a status line: {error}: {line[:200]!r}") from None
        if status.name <= previous:
            raise ResultsError(f"{path.name}: {status.name!r:.80} comes twice or out of order")
        previous = status.name
        yield status


def read_joblog(directory: Path) -> Iterator[str]:
    """Yield the rows of a shard's joblog without its header; raises ResultsError if one is not GNU parallel's."""
    path = directory / "joblog.txt"
    with io.TextIOWrapper(_open(path), encoding="ascii", errors="surrogateescape", newline="\n") as file:
        if file.readline(1000).rstrip("\n") != JOBLOG_HEADER:
            raise ResultsError(f"{path.name}: does not start with GNU parallel's header")
        while row := file.readline(2000):
            row = row.rstrip("\n")
            if not _JOBLOG_ROW.fullmatch(row):
                raise ResultsError(f"{path.name}: not a joblog row: {row!r:.200}")
            yield row


def read_scanner(directory: Path) -> Scanner:
    """Return what ``scanner.json`` says; raises ResultsError if it is not of that shape."""
    with _open(directory / "scanner.json") as file:
        content = file.read(_MAX_SCANNER_BYTES)
    try:
        return msgspec.json.decode(content, type=Scanner)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ResultsError(f"scanner.json: {error}") from None


def _check_status(status: PackageStatus, packages: dict[str, ShardPackage]) -> None:
    package = packages.get(status.name)
    if package is None:
        raise ResultsError(f"status.jsonl: {status.name!r:.80} is not in the shard")
    if status.version not in (None, package.version):
        raise ResultsError(f"status.jsonl: {status.name!r} has version {status.version!r:.80}, not the shard's")
    files = (ShardFile(file.path, file.sha256, file.size) for file in status.files)
    if not set(package.files).issuperset(files):
        raise ResultsError(f"status.jsonl: {status.name!r} has files that are not the shard's")
    if status.status == "ok" and not status.record:
        raise ResultsError(f"status.jsonl: {status.name!r} is ok without a record")


def _checked_record_names(path: Path, packages: dict[str, ShardPackage]) -> Iterator[str]:
    previous = ""
    for line in _lines(path, MAX_RECORD_BYTES):
        try:
            record = _record_decoder.decode(line.decode())  # msgspec looks at UTF-8 only in what it keeps
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ResultsError(f"{path.name}: not a record: {error}: {line[:200]!r}") from None
        name, package = record.pypi.name, packages.get(record.pypi.name)
        if package is None or record.name != f"mirror://{name}" or record.pypi.version != package.version:
            raise ResultsError(f"{path.name}: a record that names {record.name!r:.80} {record.pypi!r:.200}")
        if not set(package.files).issuperset(record.pypi.files):
            raise ResultsError(f"{path.name}: the record of {name!r} has files that are not the shard's")
        if name <= previous:
            raise ResultsError(f"{path.name}: {name!r} comes twice or out of order")
        previous = name
        yield name


def _lines(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the lines of a zstd file of whole frames, without their ends.

    Raises ResultsError for a line of over `limit` bytes, for a damaged file, and if the last frame or line is not
    whole: what a shard's file lacks at its end would damage the shard that is packed behind it.
    """
    start: list[bytes] = []
    size = 0
    for block in _decompressed(path):
        *ends, rest = block.split(b"\n")
        for end in ends:
            line = b"".join([*start, end])
            if len(line) > limit:
                raise ResultsError(f"{path.name}: a line of over {limit} bytes")
            yield line
            start, size = [], 0
        start.append(rest)
        size += len(rest)
        if size > limit:
            raise ResultsError(f"{path.name}: a line of over {limit} bytes")
    if size:
        raise ResultsError(f"{path.name}: its last line has no end")


def _decompressed(path: Path) -> Iterator[bytes]:
    """Yield the content of a zstd file of one or more frames, no more than 32 MiB at a time."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    frame = None
    with _open(path) as file:
        while data := file.read(_COMPRESSED_BLOCK):
            while data:
                frame = frame or decompressor.decompressobj()
                try:
                    yield frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise ResultsError(f"{path.name}: damaged: {error}") from None
                data = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    if frame:
        raise ResultsError(f"{path.name}: damaged: it ends within a frame")


def _lines_with_file_closed(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the lines of a file, an over-long one in pieces of `limit` bytes; the file is open only to read a few."""
    offset = 0
    while True:
        with _open(path) as file:
            file.seek(offset)
            lines = list(islice(iter(lambda: file.readline(limit), b""), _STATUSES_AT_A_TIME))
            offset = file.tell()
        if not lines:
            return
        yield from lines


def _open(path: Path) -> io.BufferedReader:
    if path.is_symlink() or not path.is_file():
        raise ResultsError(f"{path.name}: not there, or not a regular file")
    return path.open("rb")


def _some(names: Collection[str]) -> str:
    return f"{len(names)} packages" if len(names) > 3 else ", ".join(map(repr, sorted(names)))
