"""What the control host does on workers directly: prepare them, take results from them, free their disks."""

import fcntl
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from airflow.sdk.exceptions import AirflowNotFoundException
from msgspec.structs import asdict

from pypi_scan.accept import ShardSummary, accept_results
from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.divide import read_division
from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import open_fleet
from pypi_scan.prediction import COSTS, record_costs
from pypi_scan.record_store import RecordStore
from pypi_scan.redaction_key import redaction_key
from pypi_scan.results import RESULT_FILES, ResultsError, Scanner, difference, read_statuses
from pypi_scan.scan_progress import Count
from pypi_scan.settings import Settings
from worker_jobs.failures import BadResultsError, CommandError, WorkerError, WorkerUnreachableError
from worker_jobs.job_protocol import job_command
from worker_jobs.worker import Worker, check_ids, listed_workers, worker_session

log = logging.getLogger(__name__)

SCRIPTS = Path(__file__).resolve().parents[2] / "include" / "scripts"
_MIN_FREE_GB = 4  # what prefetch leaves free, and something to work with
_MAX_RESULT_BYTES = 4 * 1024**3

type _Words = Annotated[str, msgspec.Meta(max_length=300, pattern=r"^[ -~]*$")]


class WorkerReport(msgspec.Struct):
    """What check_worker.py prints."""

    python: _Words
    cores: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    memory_bytes: Count
    free_bytes: Count
    aura: _Words
    isolation: _Words


def prepare_workers(settings: Settings, scan_id: str, package_timeout: int) -> dict[str, Any]:
    """Prepare every listed worker for scans in which a package may take `package_timeout` seconds.

    Returns ``{"workers": {name: what check_worker.py says}, "scanner": what all of them scan with}``. Those that cannot
    be used are left out. Raises WorkerError if none can.
    """
    with _preparing(settings, scan_id) as scan_dir:
        listed = listed_workers()
        reports, scanner = {}, None
        for name in listed:
            if prepared := _admit(settings, scan_id, name, package_timeout, scanner):
                report, scanner = prepared
                reports[name] = asdict(report)
        with open_fleet(scan_dir) as fleet:
            fleet.drain_all_but(listed)
            reasons = [fleet.workers[name].left_out for name in listed]
        if scanner is None:
            raise WorkerError(f"no worker can be used: {'; '.join(filter(None, reasons))}")
        return {"workers": reports, "scanner": asdict(scanner)}


def update_workers(settings: Settings, scan_id: str, package_timeout: int, listed: Sequence[str] = ()) -> None:
    """Take in the workers that were listed since, and drain those that are listed no more; by default as of now."""
    with _preparing(settings, scan_id) as scan_dir:
        names = listed or listed_workers()
        with open_fleet(scan_dir) as fleet:
            new = [name for name in names if name not in fleet.workers or fleet.workers[name].drained]
        for name in new:
            _admit(settings, scan_id, name, package_timeout, read_division(scan_dir).scanner)
        with open_fleet(scan_dir) as fleet:
            fleet.drain_all_but(names)


@contextmanager
def _preparing(settings: Settings, scan_id: str) -> Iterator[Path]:
    """Yield the directory of a scan; one task at a time prepares workers for it."""
    check_ids(scan_id)
    scan_dir = settings.scans_dir / scan_id
    with (scan_dir / ".prepare.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_fleet(scan_dir) as fleet:
            fleet.places = settings.prefetch_ahead + 1
        yield scan_dir


def _admit(
    settings: Settings, scan_id: str, name: str, package_timeout: int, wanted: Scanner | None
) -> tuple[WorkerReport, Scanner] | None:
    """Prepare a worker and let it have shards; one that cannot be used, or has another scanner, is left out."""
    scan_dir = settings.scans_dir / scan_id
    try:
        worker = Worker.from_connection(name)
        report, scanner = prepare_worker(settings, scan_id, worker, package_timeout)
        if wanted and scanner != wanted:
            raise WorkerError(f"worker {name} has another scanner than the others: {difference(wanted, scanner)}")
    except (WorkerError, AirflowNotFoundException) as error:
        log.warning("worker %s is left out: %s", name, error)
        with open_fleet(scan_dir) as fleet:
            fleet.leave_out(name, str(error))
        return None
    with open_fleet(scan_dir) as fleet:
        fleet.admit(name, Capacity(worker.cores or report.cores, worker.weight))
    return report, scanner


def prepare_worker(
    settings: Settings, scan_id: str, worker: Worker, package_timeout: int
) -> tuple[WorkerReport, Scanner]:
    """Ship the scripts, the scan's aura_dataset and the redaction key to the worker; return what it says of itself.

    That is its report, and the scanner of scans in which a package may take `package_timeout` seconds. Raises
    WorkerError if the scanner environment is not the pinned one or the disk has no room, and RedactionKeyError if the
    key is damaged.
    """
    scripts, dataset = worker.scripts_dir(scan_id), worker.dataset_dir(scan_id)
    with worker_session(worker) as session:
        session.make_dir(scripts)
        session.make_dir(dataset)
        for path in sorted(SCRIPTS.iterdir()):
            if path.is_file():
                session.put(path, scripts / path.name)
        aura_dataset = settings.scans_dir / scan_id / AURA_DATASET
        if aura_dataset.exists():
            session.put(aura_dataset, dataset / AURA_DATASET)
            session.run(["tar", "-xzf", dataset / AURA_DATASET, "-C", dataset], timeout=600.0)
        if not settings.keep_secrets:
            key = worker.redaction_key(scan_id)
            session.run(["mkdir", "-p", "-m", "700", "--", key.parent])  # nobody else may open it, even half written
            session.put(redaction_key(settings.state_dir), key)
            session.run(["chmod", "600", "--", key])
        options = [f"--requirements={scripts / 'requirements.txt'}", f"--min-free-gb={_MIN_FREE_GB}"]
        output = session.run([worker.python, scripts / "check_worker.py", *options], timeout=120.0)
        described = session.run(
            [
                worker.python,
                scripts / "describe_scanner.py",
                *scanner_options(worker, settings, scan_id, package_timeout),
            ],
            timeout=120.0,
        )
        scans = session.run(["ls", "-1", "--", worker.scan_dir(scan_id).parent]).split()
    if others := set(scans) - {scan_id}:
        log.warning(
            "the worker's disk also holds the scans %s: they run, or were never cleaned up", sorted(others)[:10]
        )
    try:
        report = msgspec.json.decode(output, type=WorkerReport)
    except msgspec.MsgspecError:
        raise WorkerError(f"worker {worker.conn_id}: check_worker.py said {output[:200]!r}, not its report") from None
    try:
        scanner = msgspec.json.decode(described, type=Scanner)
    except msgspec.MsgspecError:
        raise WorkerError(
            f"worker {worker.conn_id}: describe_scanner.py said {described[:200]!r}, not what it scans with"
        ) from None
    log.info("worker %s is ready: %s, %s", worker.conn_id, report, scanner)
    return report, scanner


def scanner_options(worker: Worker, settings: Settings, scan_id: str, package_timeout: int) -> list[str]:
    """Return the options that decide which scanner it is, the same for describe_scanner.py and scan_shard.py."""
    options = [f"--timeout={package_timeout}"]
    if not settings.keep_secrets:
        options.append(f"--redaction-key={worker.redaction_key(scan_id)}")
    return options


def collect_results(settings: Settings, scan_id: str, shard: str, worker: Worker) -> ShardSummary:
    """Copy a shard's results from its worker to ``<scans_dir>/<scan_id>/results/<shard>/``, ready to be packed.

    Raises WorkerError if they cannot be had, and BadResultsError if they are not what the shard asked for: nothing is
    kept then, neither here nor on the worker.
    """
    check_ids(scan_id, shard)
    scan_dir = settings.scans_dir / scan_id
    incoming, target = scan_dir / "incoming" / shard, scan_dir / "results" / shard
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        with worker_session(worker) as session:
            for name in RESULT_FILES:
                session.get(worker.results_dir(scan_id, shard) / name, incoming / name, _MAX_RESULT_BYTES)
        with RecordStore.in_directory(settings.state_dir) as store:
            summary = accept_results(
                scan_dir / "shards" / f"{shard}.jsonl.zst",
                incoming,
                read_division(scan_dir).scanner,
                store,
                keep_secrets=settings.keep_secrets,
            )
        record_costs(settings.state_dir / COSTS, read_statuses(incoming))
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        incoming.replace(target)
    except WorkerUnreachableError:
        raise
    except (ResultsError, WorkerError) as error:
        _remove_results(worker, scan_id, shard)
        raise BadResultsError(f"worker {worker.conn_id} returned unusable results of shard {shard}: {error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    log.info("shard %s: %s", shard, summary)
    return summary


def evict_shard(settings: Settings, scan_id: str, shard: str) -> None:
    """End the jobs of a shard and remove its files from the workers that had it; one that is gone is passed over.

    Raises WorkerError if a worker answers, but does not remove them.
    """
    check_ids(scan_id, shard)
    scan_dir = settings.scans_dir / scan_id
    with open_fleet(scan_dir) as fleet:
        state = fleet.shards[shard]
    for name in filter(None, (*state.failed_on, state.worker)):
        _free(name, scan_id, shard)
    with open_fleet(scan_dir) as fleet:
        fleet.done(shard)


def cleanup_workers(settings: Settings, scan_id: str) -> None:
    """End the jobs of a scan and remove everything of it from its workers; one that is gone is passed over.

    Raises WorkerError if a worker answers, but does not remove it.
    """
    check_ids(scan_id)
    with open_fleet(settings.scans_dir / scan_id) as fleet:
        names = list(fleet.workers)
    for name in names:
        _free(name, scan_id)


def _free(name: str, scan_id: str, shard: str | None = None) -> None:
    """End the jobs of a scan or one shard on a worker, and remove its directory or the files that the shard needed."""
    try:
        worker = Worker.from_connection(name)
    except AirflowNotFoundException:
        log.warning("there is no connection %s any more: what that worker still has is left to who removed it", name)
        return
    if shard:
        end = job_command(worker, scan_id, "end", worker.job_dir(scan_id, shard))
        directories = [worker.job_dir(scan_id, shard), worker.cache_dir(scan_id, shard)]
    else:
        end = job_command(worker, scan_id, "end-all", worker.jobs_dir(scan_id))
        directories = [worker.scan_dir(scan_id)]
    try:
        with worker_session(worker) as session:
            try:
                session.run(end, timeout=120.0)
            except CommandError as error:
                log.warning("%s; without the program that ends jobs there are none", error)
            for directory in directories:
                session.remove(directory)
    except WorkerUnreachableError as error:
        log.warning("%s; it still has files of scan %s on its disk", error, scan_id)


def _remove_results(worker: Worker, scan_id: str, shard: str) -> None:
    try:
        with worker_session(worker) as session:
            session.remove(worker.results_dir(scan_id, shard))
    except WorkerUnreachableError as error:
        log.warning("%s; its unusable results of shard %s are still there", error, shard)
