"""Packing: from the collected results of a scan's shards to one dataset directory, ``<scans_dir>/<scan_id>/dataset/``.

Workers compress: a shard's records are zstd frames already, and frames one after the other are a zstd file. So packing
copies bytes, and its memory does not grow with the number of packages.

What vouches for other files is written after them, so nothing vouches for itself: the manifest for what the shards
gave, ``checksums.sha256.txt`` for that and the manifest, ``checksums.md5.txt`` also for the former, and last
``dataset.torrent``, which holds all of them: who downloads by it gets a directory that ``sha256sum -c`` can check.
"""

import hashlib
import heapq
import importlib.metadata
import importlib.resources
import logging
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import jinja2
import msgspec
import zstandard
from msgspec.structs import asdict

from pypi_scan.files import atomic_write, atomic_write_text
from pypi_scan.manifest import SCANS_PREFIX, Counts, Manifest, ManifestFile
from pypi_scan.plan import Plan, read_plan
from pypi_scan.results import JOBLOG_HEADER, Scanner, read_joblog, read_scanner, read_statuses
from pypi_scan.status import PackageStatus
from pypi_scan.torrent import TORRENT, PieceHasher, make_torrent, piece_size

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SHA256_CHECKSUMS = "checksums.sha256.txt"
MD5_CHECKSUMS = "checksums.md5.txt"
README = "README.txt"


class PackError(Exception):
    """The scan cannot be packed. The message says what is missing."""


def pack_scan(scan_dir: Path, cdn_public_url: str) -> Manifest:
    """Write the dataset of a scan whose shards have all been collected and checked; return its manifest.

    The torrent names `cdn_public_url` as the place that the dataset will be published below. Packing again
    overwrites. Raises PackError if a shard has no results or shards were scanned by different scanners.
    """
    plan = read_plan(scan_dir)
    results = [scan_dir / "results" / shard for shard in plan.shards]
    if absent := [directory.name for directory in results if not directory.is_dir()]:
        raise PackError(f"shards {', '.join(absent)} have no results; clear their tasks prefetch to evict, then pack")
    dataset = scan_dir / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    dataset.mkdir()

    scanner = _common_scanner(results)
    _concatenate((directory / "records.jsonl.zst" for directory in results), dataset / "dataset.zst")
    _write_joblog(results, dataset / "joblog.txt")
    shutil.copyfile(scan_dir / "input_packages.txt", dataset / "input_packages.txt")
    counts = _write_statuses(scan_dir, results, dataset)
    _write_readme(plan, scanner, counts, dataset / README)

    contents = sorted(dataset.iterdir())
    pieces = PieceHasher(piece_size(sum(path.stat().st_size for path in contents)))
    files = [_digests(path, pieces) for path in contents]
    manifest = Manifest(
        scan_id=plan.scan_id,
        as_of=plan.as_of,
        mirror_serial=plan.mirror_serial,
        scanner=scanner,
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("global-pypi-scan", "bandersnatch", "zstandard")},
        },
        counts=counts,
        files=files,
    )
    atomic_write_text(dataset / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)).decode() + "\n")
    files = [*files, _digests(dataset / MANIFEST, pieces)]
    for algorithm, name in (("sha256", SHA256_CHECKSUMS), ("md5", MD5_CHECKSUMS)):
        _write_checksums(files, algorithm, dataset / name)
        files.append(_digests(dataset / name, pieces))
    web_seed = f"{cdn_public_url.rstrip('/')}/{SCANS_PREFIX}/"
    with atomic_write(dataset / TORRENT) as torrent:
        torrent.write(make_torrent(plan.scan_id, [(file.name, file.size) for file in files], pieces, web_seed))
    log.info("packed scan %s: %d records of %d packages", plan.scan_id, counts.records, counts.input)
    return manifest


def _common_scanner(results: Iterable[Path]) -> Scanner:
    """Return the scanner of the shards; a dataset made by two scanners would not say what its findings mean."""
    scanners = {directory.name: read_scanner(directory) for directory in results}
    first_shard, first = next(iter(scanners.items()))
    for shard, scanner in scanners.items():
        if scanner != first:
            raise PackError(
                f"shards {first_shard} and {shard} were not scanned alike: {_difference(first, scanner)}; clear the "
                "scan of one of them"
            )
    return first


def _difference(one: Scanner, other: Scanner) -> str:
    ours, theirs = ({**asdict(scanner), **scanner.settings, "settings": None} for scanner in (one, other))
    keys = sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))
    return ", ".join(f"{key} is {ours.get(key)!r} and {theirs.get(key)!r}" for key in keys)


def _concatenate(sources: Iterable[Path], target: Path) -> None:
    with target.open("wb") as output:
        for source in sources:
            with source.open("rb") as frames:
                shutil.copyfileobj(frames, output, 1 << 20)


def _write_joblog(results: Iterable[Path], target: Path) -> None:
    """Write the rows of all shards, numbered through, under GNU parallel's header."""
    with target.open("w", encoding="ascii", newline="\n") as output:
        output.write(f"{JOBLOG_HEADER}\n")
        rows = (row for directory in results for row in read_joblog(directory))
        for number, row in enumerate(rows, start=1):
            output.write(f"{number}\t{row.partition('\t')[2]}\n")


def _write_statuses(scan_dir: Path, results: Iterable[Path], dataset: Path) -> Counts:
    """Write packages.jsonl.zst and package_list.txt, both sorted by name, and count.

    Raises PackError unless every input package has exactly one status.
    """
    by_status: Counter[str] = Counter()
    streams: list[Iterator[PackageStatus]] = [_unscannable(scan_dir), *map(read_statuses, results)]
    records = 0
    with (
        (scan_dir / "input_packages.txt").open(encoding="ascii", newline="\n") as input_packages,
        (dataset / "packages.jsonl.zst").open("wb") as file,
        zstandard.ZstdCompressor(level=19, write_checksum=True).stream_writer(file, closefd=False) as lines,
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
            by_status[status.status] += 1
            if status.record:
                records += 1
                package_list.write(f"{status.name}\n")
    return Counts(by_status.total(), records, dict(sorted(by_status.items())))


def _unscannable(scan_dir: Path) -> Iterator[PackageStatus]:
    with (scan_dir / "unscannable.jsonl").open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line, type=PackageStatus)


def _write_readme(plan: Plan, scanner: Scanner, counts: Counts, target: Path) -> None:
    template = importlib.resources.files("pypi_scan").joinpath("dataset_readme.txt.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - plain text
    target.write_text(
        environment.from_string(template).render(plan=plan, scanner=scanner, counts=counts), encoding="utf-8"
    )


def _digests(path: Path, pieces: PieceHasher) -> ManifestFile:
    """Read a file once, for its digests and for the pieces of the torrent, which it is the next file of."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
            pieces.update(block)
        size = file.tell()
    return ManifestFile(path.name, size, sha256.hexdigest(), md5.hexdigest())


def _write_checksums(files: Iterable[ManifestFile], algorithm: str, target: Path) -> None:
    """Write the digests of these files, by name, in the format of ``md5sum -c`` and ``sha256sum -c``."""
    digests = sorted((file.name, getattr(file, algorithm)) for file in files)
    atomic_write_text(target, "".join(f"{digest}  {name}\n" for name, digest in digests))
