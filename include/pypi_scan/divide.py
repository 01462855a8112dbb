"""Dividing the plan of a scan into shards of about equal cost, for a scanner that is known by now.

``division.json`` is a `Division`, ``shards/0001.jsonl.zst`` the packages of a shard; see `pypi_scan.shard`. A package
is known if the store has what this scanner would find in this release. Blocks are never cut, so that the records of a
block are compressed to the same bytes whatever the division.
"""

import logging
import math
import shutil
import tempfile
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from pypi_scan.balance import MAX_SHARDS, BlockCost, balance, shard_count
from pypi_scan.files import atomic_write, atomic_write_text
from pypi_scan.fleet import Capacity
from pypi_scan.plan import RELEASES
from pypi_scan.prediction import CostModel
from pypi_scan.progress import with_progress
from pypi_scan.record_store import RecordKeys, RecordStore
from pypi_scan.results import Scanner
from pypi_scan.shard import PlannedRelease, ShardPackage, compressed_block, read_blocks

log = logging.getLogger(__name__)

DIVISION = "division.json"
SHARD_PACKAGES = 5000  # more are slow to collect, even if nearly all of them are known
KNOWN_COST = 0.05  # CPU seconds of a package that need not be scanned
_NO_HISTORY = CostModel({})
ONE_WORKER = (Capacity(8),)


class DivisionError(Exception):
    """There is no division of a scan. The message says what to do."""


class ShardPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shard: its predicted cost in CPU seconds, its packages, those of them that are known, bytes to be fetched."""

    id: str
    cost: float
    packages: int
    known: int
    bytes: int


class Division(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``division.json`` holds: the scanner that all shards are for, the shards, and their sums."""

    scanner: Scanner
    shards: list[ShardPlan]
    cost: float
    packages: int
    known: int
    bytes: int

    @property
    def shard_ids(self) -> list[str]:
        """The shards by their ids, in order."""
        return [shard.id for shard in self.shards]


class Block(NamedTuple):
    """What a block adds to the sums of its shard; the costliest of its packages may cost `costliest` CPU seconds."""

    number: int
    cost: float
    costliest: float
    packages: int
    known: int
    bytes: int


def divide_scan(
    scan_dir: Path,
    scanner: Scanner,
    *,
    records: RecordStore | None,
    costs: CostModel = _NO_HISTORY,
    workers: Sequence[Capacity] = ONE_WORKER,
    shards: int | None = None,
) -> Division:
    """Divide the plan in `scan_dir` into `shards`, else as many as suit its cost and `workers`; return the division.

    Packages that `records` has are known; without it none is. `costs` predicts the others. Dividing again overwrites,
    and removes the results of earlier shards. Raises RecordStoreError.
    """
    for stale in ("shards", "results"):
        shutil.rmtree(scan_dir / stale, ignore_errors=True)
    (scan_dir / DIVISION).unlink(missing_ok=True)
    keys = RecordKeys(scanner)
    blocks: list[Block] = []
    places: list[tuple[int, int]] = []
    with tempfile.TemporaryFile(dir=scan_dir) as spool:  # of all of PyPI a few gigabytes
        for releases in with_progress(read_blocks(scan_dir / RELEASES), "dividing, blocks read"):
            known = known_keys(releases, keys, records) if records else {}
            if records:
                records.touch(known.values())
            block, packages = weigh_block(len(blocks), releases, known, costs)
            content = compressed_block(packages)
            blocks.append(block)
            places.append((spool.tell(), len(content)))
            spool.write(content)
        planned = plan_shards(blocks, workers, shards)
        for shard, numbers in planned:
            _write_shard(spool, [places[number] for number in numbers], scan_dir / "shards" / f"{shard.id}.jsonl.zst")
    made = [shard for shard, _ in planned]
    division = Division(
        scanner=scanner.identity,
        shards=made,
        cost=round(sum(shard.cost for shard in made), 1),
        packages=sum(shard.packages for shard in made),
        known=sum(shard.known for shard in made),
        bytes=sum(shard.bytes for shard in made),
    )
    atomic_write_text(scan_dir / DIVISION, msgspec.json.format(msgspec.json.encode(division)).decode() + "\n")
    log.info(
        "division of scan %s: %d packages in %d shards, %d are known, %.1f MB to fetch, %.1f CPU hours",
        scan_dir.name, division.packages, len(made), division.known, division.bytes / 1e6, division.cost / 3600,
    )  # fmt: skip
    return division


def read_division(scan_dir: Path) -> Division:
    """Read the division of a scan; raises DivisionError if there is none."""
    try:
        return msgspec.json.decode((scan_dir / DIVISION).read_bytes(), type=Division)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DivisionError(f"{scan_dir} holds no readable division: {error}; clear the task divide") from error


def known_keys(releases: Sequence[PlannedRelease], keys: RecordKeys, records: RecordStore) -> dict[str, bytes]:
    """Return name -> key of the releases whose record is kept."""
    names = {keys.key(release): release.name for release in releases}
    return {names[key]: key for key in records.whole(list(names))}


def weigh_block(
    number: int, releases: Sequence[PlannedRelease], known: Container[str], costs: CostModel
) -> tuple[Block, list[ShardPackage]]:
    """Return what a block adds to its shard, and its packages as the shard will hold them."""
    packages = [_shard_package(release, number, costs, known=release.name in known) for release in releases]
    block = Block(
        number=number,
        cost=sum(KNOWN_COST if package.known else costs.cost(*_features(package)) for package in packages),
        costliest=max(package.cost for package in packages),
        packages=len(packages),
        known=sum(package.known for package in packages),
        bytes=sum(file.size for package in packages if not package.known for file in package.files),
    )
    return block, packages


def plan_shards(
    blocks: Sequence[Block], workers: Sequence[Capacity], shards: int | None = None
) -> list[tuple[ShardPlan, list[int]]]:
    """Return each shard with the numbers of its blocks, in order; without `shards`, as many as suit `workers`."""
    costs = [BlockCost(block.number, block.cost, block.costliest) for block in blocks]
    groups = balance(costs, shards or _number_of_shards(blocks, workers))
    return [
        (_shard_plan(number, [blocks[index] for index in group]), sorted(group))
        for number, group in enumerate(groups, start=1)
    ]


def _shard_package(release: PlannedRelease, block: int, costs: CostModel, *, known: bool) -> ShardPackage:
    cost = KNOWN_COST if known else costs.may_cost(*_features(release))
    return ShardPackage(release.files, release.json, release.name, release.version, block, cost, known)


def _features(release: PlannedRelease) -> tuple[str, int, int]:
    return release.name, len(release.files), sum(file.size for file in release.files)


def _number_of_shards(blocks: Sequence[Block], workers: Sequence[Capacity]) -> int:
    by_cost = shard_count(sum(block.cost for block in blocks), workers, len(blocks))
    by_packages = math.ceil(sum(block.packages for block in blocks) / SHARD_PACKAGES)
    return min(max(by_cost, by_packages), MAX_SHARDS)


def _shard_plan(number: int, blocks: Sequence[Block]) -> ShardPlan:
    return ShardPlan(
        id=f"{number:04}",
        cost=round(sum(block.cost for block in blocks), 1),
        packages=sum(block.packages for block in blocks),
        known=sum(block.known for block in blocks),
        bytes=sum(block.bytes for block in blocks),
    )


def _write_shard(spool: BinaryIO, places: Iterable[tuple[int, int]], path: Path) -> None:
    """Write the file of a shard, of blocks that lie at these offsets of `spool` and have so many bytes."""
    with atomic_write(path) as file:
        for offset, length in places:
            spool.seek(offset)
            file.write(spool.read(length))
