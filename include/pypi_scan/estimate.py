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
    earlier: Sequence[EarlierScan],
    costs: CostModel,
    *,
    records: RecordStore | None,
    package_timeout: int,
    places: int,
    shards: int | None = None,
) -> Estimate:
    """Return what the scan that is asked for would take, by the `earlier` ones, the last first.

    Without `records` nothing is re-used. A package may take `package_timeout` seconds; a worker's disk has `places` for
    shards, which are as many as `shards` says, else as suit the workers. Raises PlanError as `plan_scan` does, and
    RecordStoreError.
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
    last = next((scan for scan in earlier if not scan.partial), earlier[0] if earlier else None)
    workers = last.workers if last else []
    divided = [shard for shard, _ in plan_shards(blocks, workers or ONE_WORKER, shards)]
    planned = sum(shard.packages for shard in divided)
    reused = sum(shard.known for shard in divided)
    cpu_hours = sum(block.cost for block in blocks) / 3600
    return Estimate(
        as_of=iso_8601(as_of),
        input=planned + unscannable,
        unscannable=unscannable,
        reused=reused,
        to_scan=planned - reused,
        files=files,
        bytes=sum(shard.bytes for shard in divided),
        cpu_hours=round(cpu_hours, 4),
        shards=len(divided),
        workers=len(workers) or None,
        cores=sum(worker.cores for worker in workers) or None,
        hours=round(cpu_hours / sum(worker.speed for worker in workers), 4) if workers else None,
        worker_disk_bytes=sum(nlargest(places, (shard.bytes for shard in divided))),
        control_disk_bytes=round(planned * last.bytes_per_package) if last else None,
        goes_by=[reuse, *_rests_on(last)],
    )


def described(estimate: Estimate) -> list[str]:
    """Return the estimate as lines for people."""
    hours = f", {_hours(estimate.hours)} on {estimate.cores} cores" if estimate.hours is not None else ""
    control = estimate.control_disk_bytes
    return [
        f"as of {estimate.as_of}: {estimate.input:,} packages, of which {estimate.to_scan:,} are to be scanned, "
        f"{estimate.reused:,} re-used, and {estimate.unscannable:,} have nothing to scan",
        f"to fetch: {estimate.files:,} files, {_bytes(estimate.bytes)}",
        f"to compute: {_hours(estimate.cpu_hours)} of CPU time{hours}, in {estimate.shards:,} shards",
        f"disk of each worker: {_bytes(estimate.worker_disk_bytes)} at most; of the control host: "
        f"{'not known' if control is None else _bytes(control)}",
        *(f"goes by: {each}" for each in estimate.goes_by),
    ]


def _bytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:,.1f} minutes"


def _reuse(earlier: Sequence[EarlierScan], package_timeout: int, *, asked: bool) -> tuple[RecordKeys | None, str]:
    """Return the keys of the records that can be re-used, None if none can, and why."""
    if not asked:
        return None, "the mode is full, so nothing is re-used"
    if not earlier:
        return None, "no scan was packed on this host yet, so nothing is re-used"
    alike = next((scan for scan in earlier if scan.scanner.settings.get("timeout") == package_timeout), None)
    if alike is None:
        return None, f"no scan on this host gave a package {package_timeout} seconds, so nothing is re-used"
    return RecordKeys(alike.scanner), f"records are re-used if the workers scan as they did in scan {alike.scan_id}"


def _rests_on(last: EarlierScan | None) -> list[str]:
    """Return what the times and the disks rest on, if `last` is the scan whose workers and disk are known."""
    cost = "a package costs what its last scan did, else what others of its size do"
    unknown = "which workers there will be is not known: divide the CPU time by their cores"
    if last is None:
        return [cost, unknown]
    hours = f"the workers are those of scan {last.scan_id}, with all their cores busy" if last.workers else unknown
    return [cost, hours, f"the control host keeps as much a package as of scan {last.scan_id}"]
