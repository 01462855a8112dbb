"""What a scan would take: its packages, bytes, hours and disk, found out without a worker and without a trace.

Releases are chosen, weighed and divided into shards as a scan does it, with the workers and the scanner of an earlier
scan, as those of the next one are only known when it has begun.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC
from heapq import nlargest
from itertools import batched

import msgspec

from pypi_scan.choose import Chosen, iso_8601
from pypi_scan.choosers import ChoosersError, choose_all, cores_for
from pypi_scan.divide import ONE_WORKER, Block, known_keys, plan_shards, weigh_block
from pypi_scan.earlier_scan import EarlierScan
from pypi_scan.fleet import Capacity
from pypi_scan.mirror import Mirror
from pypi_scan.plan import PlanError, nothing_to_scan, select_packages
from pypi_scan.prediction import CostModel
from pypi_scan.progress import with_progress
from pypi_scan.record_store import RecordKeys, RecordStore
from pypi_scan.scan_request import ScanRequest
from pypi_scan.shard import PlannedRelease, block_size

_decoder = msgspec.json.Decoder(PlannedRelease)


class Estimate(msgspec.Struct, frozen=True):
    """What a scan would take.

    Of `input` packages `unscannable` have no release to scan, `reused` ones' records are kept, and the others are to be
    scanned: `files` of `bytes` together are fetched. `hours` are those of `workers` with `cores` together, all of them
    busy; null where no earlier scan says which workers there are. A worker's disk holds the `places` largest shards at
    most, `worker_disk_bytes`; the control host keeps about `control_disk_bytes`. `goes_by` says what all that rests on.
    """

    as_of: str
    input: int
    unscannable: int
    reused: int
    to_scan: int
    files: int
    bytes: int
    cpu_hours: float
    shards: int
    workers: int | None
    cores: int | None
    hours: float | None
    worker_disk_bytes: int
    control_disk_bytes: int | None
    goes_by: list[str]


def estimate_scan(
    mirror: Mirror,
    request: ScanRequest,
    earlier: EarlierScan | None,
    costs: CostModel,
    *,
    records: RecordStore | None,
    package_timeout: int,
    places: int,
    shards: int | None = None,
) -> Estimate:
    """Return what the scan that is asked for would take; without `records` nothing is re-used.

    A package may take `package_timeout` seconds; a worker's disk has `places` for shards, which are as many as `shards`
    says, else as suit the workers. Raises PlanError as `plan_scan` does, and RecordStoreError.
    """
    as_of = request.as_of.astimezone(UTC)
    names = select_packages(mirror, request)
    keys, reuse = _reuse(earlier, package_timeout, asked=records is not None)
    blocks: list[Block] = []
    unscannable = files = 0

    def lines(parts: Iterable[Chosen]) -> Iterator[bytes]:
        nonlocal unscannable
        for part in with_progress(parts, "estimating, thousands of packages read"):
            unscannable += len(part.unscannable)
            yield from part.releases

    try:
        with closing(choose_all(mirror, names, as_of, cores_for(len(names)))) as parts:
            for block in batched(lines(parts), block_size(len(names))):
                releases = [_decoder.decode(line) for line in block]
                known = known_keys(releases, keys, records) if keys and records else {}
                files += sum(len(release.files) for release in releases if release.name not in known)
                blocks.append(weigh_block(len(blocks), releases, known, costs)[0])
    except ChoosersError as error:
        raise PlanError(str(error)) from error
    if not blocks:
        raise nothing_to_scan(len(names), as_of)
    workers = earlier.workers if earlier else []
    divided = [shard for shard, _ in plan_shards(blocks, workers or ONE_WORKER, shards)]
    planned = sum(shard.packages for shard in divided)
    reused = sum(shard.known for shard in divided)
    cpu_hours = sum(shard.cost for shard in divided) / 3600
    return Estimate(
        as_of=iso_8601(as_of),
        input=planned + unscannable,
        unscannable=unscannable,
        reused=reused,
        to_scan=planned - reused,
        files=files,
        bytes=sum(shard.bytes for shard in divided),
        cpu_hours=round(cpu_hours, 2),
        shards=len(divided),
        workers=len(workers) or None,
        cores=sum(worker.cores for worker in workers) or None,
        hours=round(cpu_hours / sum(worker.speed for worker in workers), 2) if workers else None,
        worker_disk_bytes=sum(nlargest(places, (shard.bytes for shard in divided))),
        control_disk_bytes=round(planned * earlier.bytes_per_package) if earlier else None,
        goes_by=[reuse, *_rests_on(earlier, workers)],
    )


def described(estimate: Estimate) -> list[str]:
    """Return the estimate as lines for people."""
    hours = f", {estimate.hours:,.1f} hours on {estimate.cores} cores" if estimate.hours is not None else ""
    control = estimate.control_disk_bytes
    return [
        f"as of {estimate.as_of}: {estimate.input:,} packages, of which {estimate.to_scan:,} are to be scanned, "
        f"{estimate.reused:,} re-used, and {estimate.unscannable:,} have nothing to scan",
        f"to fetch: {estimate.files:,} files, {_gb(estimate.bytes)}",
        f"to compute: {estimate.cpu_hours:,.1f} CPU hours{hours}, in {estimate.shards:,} shards",
        f"disk of each worker: {_gb(estimate.worker_disk_bytes)} at most; of the control host: "
        f"{'not known' if control is None else _gb(control)}",
        *(f"goes by: {each}" for each in estimate.goes_by),
    ]


def _gb(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def _reuse(earlier: EarlierScan | None, package_timeout: int, *, asked: bool) -> tuple[RecordKeys | None, str]:
    """Return the keys of the records that can be re-used, None if none can, and why."""
    if not asked:
        return None, "the mode is full, so nothing is re-used"
    if earlier is None:
        return None, "no scan was packed on this host yet, so nothing is re-used"
    had = earlier.scanner.settings.get("timeout")
    if had != package_timeout:
        return None, f"scan {earlier.scan_id} gave a package {had} seconds, so none of its records is re-used"
    return RecordKeys(earlier.scanner), f"records are re-used if the workers scan as they did in scan {earlier.scan_id}"


def _rests_on(earlier: EarlierScan | None, workers: Sequence[Capacity]) -> list[str]:
    """Return what the times and the disks rest on."""
    cost = "a package costs what its last scan did, else what others of its size do"
    if earlier is None or not workers:
        hours = "which workers there will be is not known: divide the CPU hours by their cores"
    else:
        hours = f"the hours are of the {len(workers)} workers of scan {earlier.scan_id}, with all cores busy"
    if earlier is None:
        return [cost, hours]
    return [cost, hours, f"the control host keeps as much a package as of scan {earlier.scan_id}"]
