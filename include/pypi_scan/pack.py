"""Packing: from the accepted results of a scan's shards to one dataset directory, ``<scans_dir>/<scan_id>/dataset/``.

Workers compress: a shard's records are zstd frames already, and frames one after the other are a zstd file. As no frame
holds records of two blocks, it is the same file in order of name, whatever the shards were. The parts of the editions
for SQL are there too. So packing copies and merges, and its memory does not grow with the number of records. Merging
the editions takes longer than all the rest, so it is a step of its own.
"""

import heapq
import importlib.resources
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import zstandard
from msgspec.structs import asdict

from pypi_scan.accept import REJECTED, read_frame_list
from pypi_scan.changes import write_changes
from pypi_scan.dataset_index import DATASET, INDEX, write_dataset_index
from pypi_scan.divide import read_division
from pypi_scan.editions.columns import DETECTIONS, PACKAGES
from pypi_scan.editions.parquet import write_detections, write_packages
from pypi_scan.editions.parts import PARQUET_PART
from pypi_scan.editions.sqlite import SQLITE, write_sqlite
from pypi_scan.files import atomic_write
from pypi_scan.frames import compressed_frame
from pypi_scan.manifest import Counts, Manifest
from pypi_scan.plan import INPUT_PACKAGES, UNSCANNABLE, read_plan
from pypi_scan.record import SCHEMA, record_schema
from pypi_scan.results import (
    JOBLOG_HEADER,
    RECORDS,
    Frame,
    Scanner,
    difference,
    read_joblog,
    read_scanner,
    read_statuses,
)
from pypi_scan.seal import seal
from pypi_scan.signing import SigningKey
from pypi_scan.status import PackageStatus

log = logging.getLogger(__name__)

README = "README.txt"
REJECTED_RECORDS = "rejected.jsonl.zst"


_EDITIONS = {SQLITE: write_sqlite, DETECTIONS: write_detections}
_MADE_OF = "made-of.json"


class PackError(Exception):
    """The scan cannot be packed. The message says what is missing."""


@dataclass(frozen=True)
class PreviousScan:
    """The scan that a dataset is compared with: its id, and a directory that holds its Parquet editions."""

    scan_id: str
    directory: Path


def pack_editions(scan_dir: Path) -> None:
    """Merge what the shards have of the editions for SQL, into ``<scan_dir>/editions/``.

    Raises PackError if a shard has no results.
    """
    results = _results(scan_dir)
    editions = scan_dir / "editions"
    shutil.rmtree(editions, ignore_errors=True)
    editions.mkdir()
    parts = _parts(results)
    for name, write in _EDITIONS.items():
        log.info("merging %d shards into %s", len(results), name)
        write(results, editions / name)
        log.info("%s has %.1f MB", name, (editions / name).stat().st_size / 1e6)
    with atomic_write(editions / _MADE_OF) as file:
        file.write(msgspec.json.encode(parts))


def pack_scan(
    scan_dir: Path, cdn_public_url: str, *, key: SigningKey | None = None, previous: PreviousScan | None = None
) -> Manifest:
    """Write the dataset of a scan whose shards have all been accepted and merged; return its manifest.

    The torrent names `cdn_public_url` as the place that the dataset will be published below. Without `key` the manifest
    is not signed, without `previous` there are no changes. Packing again overwrites, with the same bytes. Raises
    PackError if a shard has no results, the editions are not of these results, or shards were scanned by different
    scanners.
    """
    plan = read_plan(scan_dir)
    results = _results(scan_dir)
    scanner = _common_scanner(results)
    dataset = scan_dir / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    dataset.mkdir()

    _link_editions(scan_dir / "editions", results, dataset)
    frames = _concatenate(_frames(results), dataset / DATASET)
    write_dataset_index(frames, dataset / INDEX)
    _write_joblog(results, dataset / "joblog.txt")
    shutil.copyfile(scan_dir / INPUT_PACKAGES, dataset / INPUT_PACKAGES)
    counts = _write_statuses(scan_dir, results, frames, dataset)
    _write_rejected(results, dataset / REJECTED_RECORDS)
    schema = msgspec.json.format(msgspec.json.encode(record_schema())).decode()
    (dataset / SCHEMA).write_text(f"{schema}\n", encoding="utf-8")
    changes = write_changes(previous.directory, previous.scan_id, dataset, plan.scan_id) if previous else None
    signed = key is not None
    _write_readme(dataset / README, plan=plan, scanner=scanner, counts=counts, changes=changes, signed=signed)
    manifest = seal(dataset, plan, scanner, counts, changes, cdn_public_url, key)
    log.info("packed scan %s: %d records of %d packages", plan.scan_id, counts.records, counts.input)
    return manifest


def _results(scan_dir: Path) -> list[Path]:
    results = [scan_dir / "results" / shard for shard in read_division(scan_dir).shard_ids]
    if absent := [directory.name for directory in results if not directory.is_dir()]:
        raise PackError(f"shards {', '.join(absent)} have no results; clear their tasks prefetch to evict, then pack")
    return results


def _parts(results: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return what tells whether the parts of the shards are the same as at another time."""
    stats = ((directory.name, (directory / PARQUET_PART).stat()) for directory in results)
    return [(shard, stat.st_ino, stat.st_mtime_ns) for shard, stat in stats]


def _link_editions(editions: Path, results: Iterable[Path], dataset: Path) -> None:
    try:
        made_of = msgspec.json.decode((editions / _MADE_OF).read_bytes(), type=list[tuple[str, int, int]])
    except FileNotFoundError:
        made_of = []
    if made_of != _parts(results):
        raise PackError("the editions are not made of these results; clear the task editions, then pack")
    for name in _EDITIONS:
        (dataset / name).hardlink_to(editions / name)


def _common_scanner(results: Iterable[Path]) -> Scanner:
    """Return the scanner of the shards; a dataset made by two scanners would not say what its findings mean."""
    scanners = {directory.name: read_scanner(directory) for directory in results}
    first_shard, first = next(iter(scanners.items()))
    for shard, scanner in scanners.items():
        if scanner != first:
            raise PackError(
                f"shards {first_shard} and {shard} were not scanned alike: {difference(first, scanner)}; clear the "
                "scan of one of them"
            )
    return first


def _frames(results: Iterable[Path]) -> list[tuple[Path, Frame]]:
    """Return the frames of all shards that hold records, each with the directory it is in, in order of name."""
    frames = ((directory, frame) for directory in results for frame in read_frame_list(directory) if frame.names)
    return sorted(frames, key=lambda found: found[1].names[0])


def _concatenate(frames: Iterable[tuple[Path, Frame]], target: Path) -> list[Frame]:
    """Write the frames one after the other into `target`; return them where they lie there."""
    written = []
    with target.open("wb") as output:
        for directory, frame in frames:
            with (directory / RECORDS).open("rb") as source:
                source.seek(frame.offset)
                written.append(Frame(output.tell(), output.write(source.read(frame.length)), frame.names))
        if not written:
            output.write(compressed_frame([]))
    return written


def _write_joblog(results: Iterable[Path], target: Path) -> None:
    """Write the rows of all shards, numbered through, under GNU parallel's header."""
    with target.open("w", encoding="ascii", newline="\n") as output:
        output.write(f"{JOBLOG_HEADER}\n")
        rows = (row for directory in results for row in read_joblog(directory))
        for number, row in enumerate(rows, start=1):
            output.write(f"{number}\t{row.partition('\t')[2]}\n")


def _write_rejected(results: Iterable[Path], target: Path) -> None:
    lines = (line for directory in results for line in (directory / REJECTED).read_bytes().splitlines(keepends=True))
    target.write_bytes(zstandard.ZstdCompressor(level=19, write_checksum=True).compress(b"".join(sorted(lines))))


def _write_statuses(scan_dir: Path, results: Iterable[Path], frames: Iterable[Frame], dataset: Path) -> Counts:
    """Write packages.jsonl.zst, packages.parquet and package_list.txt, all sorted by name, and count.

    Raises PackError unless every input package has exactly one status.
    """
    by_status: Counter[str] = Counter()
    streams: list[Iterator[PackageStatus]] = [_unscannable(scan_dir), *map(read_statuses, results)]
    records = 0
    frame_of = {name: frame for frame in frames for name in frame.names}
    with (
        tempfile.NamedTemporaryFile(dir=scan_dir, prefix="packages-", suffix=".jsonl") as rows,
        (scan_dir / INPUT_PACKAGES).open(encoding="ascii", newline="\n") as input_packages,
        (dataset / "packages.jsonl.zst").open("wb") as file,
        zstandard.ZstdCompressor(level=9, write_checksum=True).stream_writer(file, closefd=False) as lines,
        (dataset / "package_list.txt").open("w", encoding="ascii", newline="\n") as package_list,
    ):
        statuses = heapq.merge(*streams, key=lambda status: status.name)
        for name, status in zip_longest(map(str.rstrip, input_packages), statuses):
            if status is None or status.name != name:
                found = status.name if status else "nothing"
                raise PackError(
                    f"the statuses are not those of the input packages: {found} in place of {name}; scan again"
                )
            lines.write(msgspec.json.encode(status) + b"\n")
            rows.write(msgspec.json.encode(_package_row(status, frame_of.get(name))) + b"\n")
            by_status[status.status] += 1
            if status.record:
                records += 1
                package_list.write(f"{status.name}\n")
        rows.flush()
        write_packages(Path(rows.name), dataset / PACKAGES)
    return Counts(by_status.total(), records, dict(sorted(by_status.items())))


def _package_row(status: PackageStatus, frame: Frame | None) -> dict[str, Any]:
    """Return a row of packages.parquet; see PACKAGE_COLUMNS."""
    return {
        **asdict(status),
        "package": status.name,
        "files": len(status.files),
        "frame_offset": frame.offset if frame else None,
        "frame_length": frame.length if frame else None,
    }


def _unscannable(scan_dir: Path) -> Iterator[PackageStatus]:
    with (scan_dir / UNSCANNABLE).open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line, type=PackageStatus)


def _write_readme(target: Path, **values: object) -> None:
    template = importlib.resources.files("pypi_scan").joinpath("dataset_readme.txt.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)  # noqa: S701 - plain text
    target.write_text(f"{environment.from_string(template).render(values)}\n", encoding="utf-8")
