"""What a worker returned for a shard, checked before anything else touches it.

A worker opens malware for a living: what comes back from it is untrusted. A shard's results are a directory of
`RESULT_FILES`; `check_results` refuses it unless every package of the shard has its status, every record belongs to a
package of the shard and says so, and nothing is larger than a scan could have made it. A record that is its package's
but not as the schema has it is rejected alone. What it says of known packages is checked by `pypi_scan.known`.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from pypi_scan.frames import FrameError, decompressed
from pypi_scan.names import printable
from pypi_scan.record import NotARecordError, Record, RecordOrigin, Sha256, decode_record
from pypi_scan.redaction_check import quoted_secret
from pypi_scan.shard import MAX_BLOCK, ShardPackage
from pypi_scan.status import COMPLETE, PackageStatus

RECORDS = "records.jsonl.zst"
STATUSES = "status.jsonl"
KNOWN = "known.jsonl"
RESULT_FILES = (RECORDS, STATUSES, KNOWN, "joblog.txt", "scanner.json")
JOBLOG_HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
MAX_RECORD_BYTES = 256 * 1024 * 1024
_MORE_IN_FRAME = 16 * 1024 * 1024  # bytes that may stand before the last record of a frame
_MAX_RECORDS_BYTES = 64 * 1024**3  # of all records of a shard together, before compression
_FEW_REJECTED = 5  # records of a shard that may be rejected, or this share of them
_SHARE_REJECTED = 0.02
_MAX_STATUS_LINE_BYTES = 4 * 1024 * 1024
_MAX_SCANNER_BYTES = 64 * 1024
_STATUSES_AT_A_TIME = 50
_COMPRESSED_BLOCK = 1024  # bytes; four of them can stand for 128 KiB, so this is at most 32 MiB of content
_JOBLOG_ROW = re.compile(r"\d+\t[!-~]+\t *\d+\.\d{3}\t *\d+\.\d{3}\t\d+\t\d+\t-?\d+\t\d+\tscan ([a-z0-9-]+)")
# Printable, short, on one line: it goes into the dataset's README and onto the index page.
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{1,80}\Z")]


class ResultsError(Exception):
    """A worker's results are not what the shard asked for. The message says which file and why."""


class _OriginOfRecord(msgspec.Struct, frozen=True):
    """As much of a record as tells whose it is."""

    name: str
    pypi: RecordOrigin


class Frame(NamedTuple):
    """A zstd frame of ``records.jsonl.zst``: where it lies, in bytes, and the packages whose records it holds."""

    offset: int
    length: int
    names: list[str]


class Scanner(msgspec.Struct, frozen=True):
    """What ``scanner.json`` holds: the scanner that made a shard's records, its version and settings.

    `datasets` are the digests of what it was told of the rest of PyPI, by file name.
    """

    scanner: _Word
    version: _Word
    python: _Word
    settings: dict[_Word, int | float | _Word | bool | None]
    datasets: dict[_Word, Sha256] = {}

    @property
    def identity(self) -> "Scanner":
        """What of it decides what it finds in a release, whatever it is told of the rest of PyPI."""
        return msgspec.structs.replace(self, datasets={})


class CheckedResults(msgspec.Struct, frozen=True):
    """Results that are what the shard asked for: the frames of the records, and {package: reason} of rejected ones."""

    by_status: dict[str, int]
    frames: list[Frame]
    rejected: dict[str, str]


_origin_decoder = msgspec.json.Decoder(_OriginOfRecord)
_status_decoder = msgspec.json.Decoder(PackageStatus)


def check_results(
    packages: Mapping[str, ShardPackage],
    directory: Path,
    accept: Callable[[Record], None],
    *,
    keep_secrets: bool = False,
) -> CheckedResults:
    """Check a shard's results against its packages, and call `accept` with each record that is as it should be.

    `packages` are all of the shard, by name; what is known has been added to the results. Unless `keep_secrets`, a
    record that quotes a secret is rejected. Raises ResultsError at the first thing that is not right, and at the end if
    too many records were rejected.
    """
    secrets = read_scanner(directory).settings.get("secrets")
    if secrets != "redacted" and not keep_secrets:
        raise ResultsError("scanner.json: secrets are not redacted, and PYPI_SCAN_KEEP_SECRETS is not set")
    expected: dict[str, PackageStatus] = {}
    by_status: Counter[str] = Counter()
    missing = set(packages)
    for status in read_statuses(directory):
        _check_status(status, packages)
        missing.remove(status.name)
        by_status[status.status] += 1
        if status.record:
            expected[status.name] = status
    if missing:
        raise ResultsError(f"status.jsonl: no status of {_some(missing)}")
    frames, rejected = _check_records(directory / RECORDS, packages, expected, accept, keep_secrets=keep_secrets)
    untried = {package.name for package in packages.values() if not package.known}
    for row in read_joblog(directory):
        name = row.rpartition("\tscan ")[2]
        if name not in untried:
            reason = "comes twice, or was not to be scanned" if name in packages else "is not in the shard"
            raise ResultsError(f"joblog.txt: a row of a package that {reason}: {row!r:.200}")
        untried.remove(name)
    return CheckedResults(dict(by_status), frames, rejected)


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
            raise ResultsError(f"{path.name}: not a status line: {printable(error)}: {line[:200]!r}") from None
        if status.name <= previous:
            raise ResultsError(f"{path.name}: {status.name!r:.80} comes twice or out of order")
        previous = status.name
        yield status


def read_joblog(directory: Path) -> Iterator[str]:
    """Yield the rows of a shard's joblog without its header; raises ResultsError if one is not GNU parallel's."""
    path = directory / "joblog.txt"
    with io.TextIOWrapper(open_result(path), encoding="ascii", errors="surrogateescape", newline="\n") as file:
        if file.readline(1000).rstrip("\n") != JOBLOG_HEADER:
            raise ResultsError(f"{path.name}: does not start with GNU parallel's header")
        while row := file.readline(2000):
            row = row.rstrip("\n")
            if not _JOBLOG_ROW.fullmatch(row):
                raise ResultsError(f"{path.name}: not a joblog row: {row!r:.200}")
            yield row


def read_scanner(directory: Path) -> Scanner:
    """Return what ``scanner.json`` says; raises ResultsError if it is not of that shape."""
    with open_result(directory / "scanner.json") as file:
        content = file.read(_MAX_SCANNER_BYTES)
    try:
        return msgspec.json.decode(content, type=Scanner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"scanner.json: {printable(error)}") from None


def difference(one: Scanner, other: Scanner) -> str:
    """Return in what two scanners differ, and how."""
    ours, theirs = (
        {"scanner": it.scanner, "version": it.version, "python": it.python, **it.settings, **it.datasets}
        for it in (one, other)
    )
    keys = sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))
    return ", ".join(f"{key} is {ours.get(key)!r} and {theirs.get(key)!r}" for key in keys)


def _check_status(status: PackageStatus, packages: Mapping[str, ShardPackage]) -> None:
    package = packages.get(status.name)
    if package is None:
        raise ResultsError(f"status.jsonl: {status.name!r:.80} is not in the shard")
    if status.version not in (None, package.version):
        raise ResultsError(f"status.jsonl: {status.name!r} has version {status.version!r:.80}, not the shard's")
    files = [(file.path, file.sha256, file.size) for file in status.files]
    if not _are_of(files, [(file.path, file.sha256, file.size) for file in package.files]):
        raise ResultsError(f"status.jsonl: {status.name!r} has files that are not the shard's")
    if status.bytes > sum(file.size for file in package.files):
        raise ResultsError(f"status.jsonl: {status.name!r} has {status.bytes} bytes, more than the shard's files")
    if status.status == "rejected" or (status.status == "reused" and not package.known):
        raise ResultsError(f"status.jsonl: {status.name!r} has a status that no worker gives")
    if status.status in COMPLETE and not status.record:
        raise ResultsError(f"status.jsonl: {status.name!r} is {status.status} without a record")
    if (status.status in COMPLETE) != (status.reason is None):
        raise ResultsError(f"status.jsonl: {status.name!r} is {status.status} and has the reason {status.reason!r:.80}")


def _check_records(
    path: Path,
    packages: Mapping[str, ShardPackage],
    expected: Mapping[str, PackageStatus],
    accept: Callable[[Record], None],
    *,
    keep_secrets: bool,
) -> tuple[list[Frame], dict[str, str]]:
    frames: list[Frame] = []
    rejected: dict[str, str] = {}
    previous = ""
    for offset, length, lines in read_frames(path):
        names = []
        for line in lines:
            record, name, reason = _decoded(path.name, line, packages)
            if name <= previous:
                raise ResultsError(f"{path.name}: {name!r} comes twice or out of order")
            if name not in expected:
                raise ResultsError(f"{path.name}: a record of {name!r}, whose status says it has none")
            previous = name
            names.append(name)
            if record and (len(record.detections), record.score) != (expected[name].detections, expected[name].score):
                raise ResultsError(
                    f"{path.name}: the record of {name!r} has not the detections and score of its status"
                )
            if record and not keep_secrets and (where := quoted_secret(record.detections)):
                record, reason = None, f"quotes a secret: {where}"
            if record is None:
                rejected[name] = reason
            else:
                accept(record)
        check_block(path.name, [packages[name] for name in names])
        frames.append(Frame(offset, length, names))
    if absent := expected.keys() - {name for frame in frames for name in frame.names}:
        raise ResultsError(f"{path.name}: no record of {_some(absent)}")
    if len(rejected) > max(_FEW_REJECTED, len(expected) * _SHARE_REJECTED):
        name, reason = next(iter(rejected.items()))
        raise ResultsError(
            f"{path.name}: {len(rejected)} of {len(expected)} records are not fit to be published, the first is "
            f"that of {name!r}: {reason}; mend the scanner and scan again"
        )
    return frames, rejected


def _decoded(file: str, line: bytes, packages: Mapping[str, ShardPackage]) -> tuple[Record | None, str, str]:
    """Return the record in `line`, or None, the name of its package, and the reason for which there is none."""
    reason = ""
    try:
        text = line.decode()  # msgspec looks at UTF-8 only in what it keeps
        try:
            record = decode_record(text)
        except NotARecordError as error:
            record, reason = None, str(error)
    except UnicodeDecodeError as error:
        raise _not_a_record(file, line, error) from None
    package = _package(file, record, packages) if record else package_of_record(file, line, packages)
    return record, package.name, reason


def package_of_record(file: str, line: bytes, packages: Mapping[str, ShardPackage]) -> ShardPackage:
    """Return the package of the shard that the record in `line` is of; raises ResultsError if it is of no other."""
    try:
        return _package(file, _origin_decoder.decode(line), packages)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _not_a_record(file, line, error) from None


def check_block(file: str, packages: Collection[ShardPackage]) -> None:
    """Raise ResultsError unless the packages of a frame are of one block: what lies between is in other shards."""
    if len({package.block for package in packages}) > 1:
        raise ResultsError(f"{file}: a frame with records of several blocks, {_some([p.name for p in packages])}")


def _package(file: str, origin: Record | _OriginOfRecord, packages: Mapping[str, ShardPackage]) -> ShardPackage:
    name, package = origin.pypi.name, packages.get(origin.pypi.name)
    if package is None or origin.name != f"mirror://{name}" or origin.pypi.version != package.version:
        raise ResultsError(f"{file}: a record that names {origin.name!r:.80} {origin.pypi!r:.200}")
    if not _are_of(origin.pypi.files, package.files):
        raise ResultsError(f"{file}: the record of {name!r} has files that are not the shard's")
    return package


def _are_of[File: Hashable](files: Sequence[File], possible: Sequence[File]) -> bool:
    """Return whether `files` are some of the `possible`, each once."""
    return len(files) == len(set(files)) and set(possible).issuperset(files)


def _not_a_record(file: str, line: bytes, error: Exception) -> ResultsError:
    return ResultsError(f"{file}: not a record: {printable(error)}: {line[:200]!r}")


def read_frames(path: Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield offset and length of each frame of a zstd file, in bytes, and the lines in it, without their ends.

    Raises ResultsError for a damaged file, a line of over MAX_RECORD_BYTES, and a frame that does not hold whole lines,
    or more of them than a block has packages: what a shard's file lacks at its end would damage the shard that is
    packed behind it. Only a file of no records may have a frame of none.
    """
    left = _MAX_RECORDS_BYTES
    for offset, length, content in _decompressed(path):
        left -= len(content)
        if left < 0:
            raise ResultsError(f"{path.name}: over {_MAX_RECORDS_BYTES} bytes of records")
        if offset and not content:
            raise ResultsError(f"{path.name}: a frame without a record")
        if content.count(b"\n") > MAX_BLOCK:
            raise ResultsError(f"{path.name}: over {MAX_BLOCK} lines in a frame, more than a block has packages")
        *lines, rest = content.split(b"\n")
        if rest:
            raise ResultsError(f"{path.name}: the last line of a frame has no end")
        if any(len(line) > MAX_RECORD_BYTES for line in lines):
            raise ResultsError(f"{path.name}: a line of over {MAX_RECORD_BYTES} bytes")
        yield offset, length, lines


def _decompressed(path: Path) -> Iterator[tuple[int, int, bytes]]:
    with open_result(path) as file:
        try:
            yield from decompressed(file, _COMPRESSED_BLOCK, MAX_RECORD_BYTES + _MORE_IN_FRAME)
        except FrameError as error:
            raise ResultsError(f"{path.name}: {error}") from None


def _lines_with_file_closed(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the lines of a file, an over-long one in pieces of `limit` bytes; the file is open only to read a few."""
    offset = 0
    while True:
        with open_result(path) as file:
            file.seek(offset)
            lines = list(islice(iter(lambda: file.readline(limit), b""), _STATUSES_AT_A_TIME))
            offset = file.tell()
        if not lines:
            return
        yield from lines


def open_result(path: Path) -> io.BufferedReader:
    """Open a file that came from a worker; raises ResultsError unless it is a regular one."""
    if path.is_symlink() or not path.is_file():
        raise ResultsError(f"{path.name}: not there, or not a regular file")
    return path.open("rb")


def _some(names: Collection[str]) -> str:
    return f"{len(names)} packages" if len(names) > 3 else ", ".join(map(repr, sorted(names)))
