"""What the control host does on a worker directly: prepare it, take results from it, free its disk."""

import logging
import shutil
from pathlib import Path
from typing import Any

import msgspec

from pypi_scan.accept import ShardSummary, accept_results
from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.divide import read_division
from pypi_scan.record_store import RecordStore
from pypi_scan.redaction_key import redaction_key
from pypi_scan.results import RESULT_FILES, ResultsError, Scanner
from pypi_scan.settings import Settings
from worker_jobs.worker import Worker, WorkerError, check_ids, worker_session

log = logging.getLogger(__name__)

SCRIPTS = Path(__file__).resolve().parents[2] / "include" / "scripts"
_MIN_FREE_GB = 4  # what prefetch leaves free, and something to work with
_MAX_RESULT_BYTES = 4 * 1024**3


class WorkerReport(msgspec.Struct):
    """What check_worker.py prints."""

    python: str
    cores: int
    memory_bytes: int
    free_bytes: int
    aura: str
    isolation: str


def prepare_worker(settings: Settings, scan_id: str, package_timeout: int) -> dict[str, Any]:
    """Ship the scripts, the scan's aura_dataset and the redaction key to the worker, check it, and return its report.

    Its ``scanner`` is the `Scanner` of scans in which a package may take `package_timeout` seconds. Raises WorkerError
    if the scanner environment is not the pinned one or the disk has no room, and RedactionKeyError if the key is
    damaged.
    """
    check_ids(scan_id)
    worker = Worker.from_connection(settings.worker_conn_id)
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
        limits = [f"--timeout={package_timeout}"]
        if not settings.keep_secrets:
            limits.append(f"--redaction-key={worker.redaction_key(scan_id)}")
        described = session.run([worker.python, scripts / "describe_scanner.py", *limits], timeout=120.0)
        scans = session.run(["ls", "-1", "--", worker.scan_dir(scan_id).parent]).split()
    if others := set(scans) - {scan_id}:
        log.warning("the worker's disk also holds the scans %s: they run, or were never cleaned up", sorted(others))
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
    return {"worker": worker.conn_id, **msgspec.structs.asdict(report), "scanner": msgspec.structs.asdict(scanner)}


def collect_results(settings: Settings, scan_id: str, shard: str) -> ShardSummary:
    """Copy a shard's results to ``<scans_dir>/<scan_id>/results/<shard>/``, checked and ready to be packed.

    Raises WorkerError if they cannot be had or are not what the shard asked for; nothing is kept then.
    """
    check_ids(scan_id, shard)
    worker = Worker.from_connection(settings.worker_conn_id)
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
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        incoming.replace(target)
    except ResultsError as error:
        raise WorkerError(f"worker {worker.conn_id} returned unusable results of shard {shard}: {error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    log.info("shard %s: %s", shard, summary)
    return summary


def evict_shard(settings: Settings, scan_id: str, shard: str) -> None:
    """Remove the prefetched files of a shard from the worker's disk."""
    check_ids(scan_id, shard)
    worker = Worker.from_connection(settings.worker_conn_id)
    with worker_session(worker) as session:
        session.remove(worker.cache_dir(scan_id, shard))


def cleanup_worker(settings: Settings, scan_id: str) -> None:
    """Remove everything of a scan from the worker's disk."""
    check_ids(scan_id)
    worker = Worker.from_connection(settings.worker_conn_id)
    with worker_session(worker) as session:
        session.remove(worker.scan_dir(scan_id))
