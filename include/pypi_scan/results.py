"""What a worker returned for a shard, checked before anything else touches it.

A worker opens malware for a living: what comes back from it is untrusted. A shard's results are a directory of
`RESULT_FILES`; `check_results` accepts it only if every package of the shard has its status, every record belongs to a
package of the shard and says so, and nothing is larger than a scan could have made it.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from pypi_scan.status import PackageStatus

RESULT_FILES = ("records.jsonl.zst", "status.jsonl", "joblog.txt", "scanner.json")
JOBLOG_HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
MAX_RECORD_BYTES = 256 * 1024 * 1024
MAX_WINDOW_BYTES = 2**27  # what every zstd reader accepts without being asked to
_MAX_STATUS_LINE_BYTES = 4 * 1024 * 1024
_MAX_SCANNER_BYTES = 64 * 1024
_JOBLOG_ROW = re.compile(r"\d+\t\S+\t *\d+\.\d{3}\t *\d+\.\d{3}\t\d+\t\d+\t-?\d+\t\d+\tscan (\S+)")


class ResultsError(Exception):
    """A worker's results are not what the shard asked for. The message says which file and why."""


class ShardFile(msgspec.Struct, frozen=True):
    """A distribution file of a shard's package."""

    path: str
    sha256: str
    size: int


class ShardPackage(msgspec.Struct, frozen=True):
    """A line of a shard, as far as its results are checked against it."""

    name: str
    version: str
    files: list[ShardFile]


class RecordOrigin(msgspec.Struct, frozen=True):
    """The key ``pypi`` that the engine adds to Aura's record."""

    name: str
    version: str


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

    scanner: str
    version: str
    python: str
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
    statuses = {status.name: status for status in read_statuses(directory)}
    if statuses.keys() != packages.keys():
        missing, foreign = sorted(packages.keys() - statuses.keys()), sorted(statuses.keys() - packages.keys())
        raise ResultsError(f"status.jsonl: {_some(missing)} missing, {_some(foreign)} not in the shard")
    for name, status in statuses.items():
        if status.version not in (None, packages[name].version):
            raise ResultsError(f"status.jsonl: {name!r} has version {status.version!r:.80}, not the shard's")
        planned = {(file.path, file.sha256, file.size) for file in packages[name].files}
        if not planned.issuperset((file.path, file.sha256, file.size) for file in status.files):
            raise ResultsError(f"status.jsonl: {name!r} has files that are not the shard's")
    expected = {name for name, status in statuses.items() if status.record}
    seen = set()
    for name in _checked_record_names(directory / "records.jsonl.zst", packages):
        if name not in expected:
            raise ResultsError(f"records.jsonl.zst: a record of {name!r}, whose status says it has none")
        seen.add(name)
    if seen != expected:
        raise ResultsError(f"records.jsonl.zst: no record of {_some(sorted(expected - seen))}")
    for row in read_joblog(directory):
        if row.rpartition("\tscan ")[2] not in packages:
            raise ResultsError(f"joblog.txt: a row of a package that is not in the shard: {row!r:.200}")
    read_scanner(directory)
    return ShardSummary(len(packages), len(seen), dict(Counter(status.status for status in statuses.values())))


def read_shard(path: Path) -> Iterator[ShardPackage]:
    """Yield the packages of a shard, in its order (by name)."""
    for line in _lines(path, MAX_RECORD_BYTES):
        yield msgspec.json.decode(line, type=ShardPackage)


def read_statuses(directory: Path) -> Iterator[PackageStatus]:
    """Yield the status lines of a shard's results, in order of name; raises ResultsError if they are not."""
    previous = ""
    path = directory / "status.jsonl"
    with _open(path) as file:
        while line := file.readline(_MAX_STATUS_LINE_BYTES):
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
    with io.TextIOWrapper(_open(path), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
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


def _checked_record_names(path: Path, packages: dict[str, ShardPackage]) -> Iterator[str]:
    previous = ""
    for line in _lines(path, MAX_RECORD_BYTES):
        try:
            record = _record_decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ResultsError(f"{path.name}: not a record: {error}: {line[:200]!r}") from None
        name = record.pypi.name
        if name not in packages or record.name != f"mirror://{name}" or record.pypi.version != packages[name].version:
            raise ResultsError(f"{path.name}: a record that names {record.name!r:.80} {record.pypi!r:.200}")
        if name <= previous:
            raise ResultsError(f"{path.name}: {name!r} comes twice or out of order")
        previous = name
        yield name


def _lines(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the lines of a zstd file of one or more frames; raises ResultsError for one of over `limit` bytes."""
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(
        _open(path), read_across_frames=True
    )
    with io.BufferedReader(reader, 1 << 20) as lines:  # type: ignore[type-var]
        while True:
            try:
                line = lines.readline(limit + 1)
            except zstandard.ZstdError as error:
                raise ResultsError(f"{path.name}: damaged: {error}") from None
            if not line:
                return
            if len(line) > limit:
                raise ResultsError(f"{path.name}: a line of over {limit} bytes")
            yield line


def _open(path: Path) -> io.BufferedReader:
    if path.is_symlink() or not path.is_file():
        raise ResultsError(f"{path.name}: not there, or not a regular file")
    return path.open("rb")


def _some(names: list[str]) -> str:
    return f"{len(names)} packages" if len(names) > 3 else (", ".join(map(repr, names)) or "none")
