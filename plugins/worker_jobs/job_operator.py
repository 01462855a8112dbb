"""The steps of a shard on a worker, each a job of include/scripts: detached, followed by a trigger, bounded in time."""

import secrets
import shlex
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.providers.ssh.operators.ssh_remote_job import SSHRemoteJobOperator
from airflow.sdk import Context
from msgspec.structs import asdict

from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.fleet import Fleet, FleetShard
from pypi_scan.fleet_file import open_fleet
from pypi_scan.settings import Settings
from worker_jobs.claim_trigger import ClaimTrigger
from worker_jobs.failures import (
    RETRY_POLICY,
    CommandError,
    JobLostError,
    JobTimeoutError,
    OutOfMemoryError,
    OutOfRoomError,
    WorkerError,
    WorkerRefusedError,
    WorkerUnreachableError,
)
from worker_jobs.job_protocol import Program, job_command, job_error, job_order, read_status
from worker_jobs.job_trigger import WorkerJobTrigger
from worker_jobs.tasks import collect_results, scanner_options, update_workers
from worker_jobs.worker import Worker, WorkerSession, check_ids, worker_session

PREFETCH_SECONDS = 12 * 3600
SCAN_SECONDS = 24 * 3600  # some of it may be waiting, on the worker, for the scan of another shard to end
_GRACE_SECONDS = 900  # for a worker that cannot be asked when the time is over
_RETRIES = 5
_OUT_OF_ROOM = 73  # exit_codes.py of include/scripts
_GOES_ON = (WorkerUnreachableError, JobLostError, OutOfRoomError, OutOfMemoryError, JobTimeoutError)
"""What leaves the worker with all that the shard's job has done so far."""


class ShardOperator(SSHRemoteJobOperator):
    """A step of one shard on the worker that has claimed the shard; where none has, it waits for one with room.

    The job (include/scripts/job.py) lives on without the SSH connection and without Airflow; a trigger follows it until
    it ends. A retry follows a job that still runs, else starts the program again, which goes on where it stopped. If
    the worker fails the shard goes to another one, and this step does there what the steps before it had done.

    :param scan_id: the scan, as the plan named it (templated)
    :param shard: the shard, as the division numbered it (templated)
    """

    template_fields: Sequence[str] = ("scan_id", "shard")
    template_ext: Sequence[str] = ()
    step: str

    def __init__(self, *, scan_id: str, shard: str, **kwargs: Any) -> None:
        kwargs = {"retries": _RETRIES, "retry_policy": RETRY_POLICY, **kwargs}
        super().__init__(ssh_conn_id="", command="", remote_os="posix", **kwargs)
        self.scan_id = scan_id
        self.shard = shard
        self._end: list[str] | None = None

    def execute(self, context: Context) -> Any:
        """Do the step, or wait for a worker to do it on."""
        check_ids(self.scan_id, self.shard)
        state = self._state()
        if state.worker is None:
            self._wait_for_worker()
        return self._go_on(context, state)

    def execute_claimed(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on with a worker, or with other workers to choose from."""
        if "reason" in event:
            raise WorkerError(event["reason"])
        if "listed" in event:
            timeout = context["params"]["package_timeout"]
            update_workers(Settings.load(), self.scan_id, timeout, event["listed"])
            self._wait_for_worker()
        self.log.info("shard %s is on worker %s", self.shard, event["worker"])
        return self._go_on(context, self._state())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Note what the job has done; fail with the program's own last words, if it failed."""
        worker, how = _worker_of(self._state()), event["how"]
        if how == "unreachable":
            self._fail(WorkerUnreachableError(event["message"]))
        if how == "refused":
            self._fail(WorkerRefusedError(event["message"]))
        if how != "done":
            about = f"worker {worker.conn_id}: {self.step} of shard {self.shard}: "
            error = job_error(how, about + event["message"], event["exit_code"])
            if how in ("ended", "taken_over"):  # by a person: no fault of the worker
                raise error
            self._fail(error)
        self._remove_job(worker)
        with self._fleet() as fleet:
            self.note_done(fleet)
        return self.finish(worker)

    def on_kill(self) -> None:
        """End the job that was started a moment ago; once it is followed, its trigger does."""
        if self._end:
            with worker_session(_worker_of(self._state())) as session:
                session.run(self._end)

    def programs(self, worker: Worker, settings: Settings, context: Context, shard: FleetShard) -> list[Program]:
        """Return the programs to run one after the other; none if nothing is to be done."""
        return [] if shard.fetched else [_prefetch(worker, settings, self.scan_id, self.shard)]

    def note_submitted(self, fleet: Fleet) -> None:
        """Note that the job was submitted."""

    def note_done(self, fleet: Fleet) -> None:
        """Note what the job has done."""
        fleet.fetched(self.shard)

    def finish(self, worker: Worker) -> Any:
        """Do what is to be done on the control host at the end, and return the task's result."""

    def _go_on(self, context: Context, state: FleetShard) -> Any:
        settings, worker = Settings.load(), _worker_of(state)
        programs = self.programs(worker, settings, context, state)
        if not programs:
            return self.finish(worker)
        owner = f"--owner={secrets.token_hex(8)}"
        job = worker.job_dir(self.scan_id, self.shard)
        self._end = job_command(worker, self.scan_id, "end", job, owner)
        try:
            with worker_session(worker) as session:
                if not state.fetched:
                    self._ship(session, worker, settings)
                start = job_command(worker, self.scan_id, "start", job, owner)
                read_status(worker.conn_id, session.run(start, stdin=job_order(programs)))
        except CommandError as error:
            self._fail(OutOfRoomError(str(error)) if error.exit_code == _OUT_OF_ROOM else error)
        except WorkerError as error:
            self._fail(error)
        self.log.info("the job of shard %s runs on worker %s, in %s", self.shard, worker.conn_id, job)
        with self._fleet() as fleet:
            self.note_submitted(fleet)
        trigger = WorkerJobTrigger(
            conn_id=worker.conn_id,
            look=shlex.join(job_command(worker, self.scan_id, "look", job, owner)),
            end=shlex.join(self._end),
            scan_dir=str(self._scan_dir()),
            shard=self.shard,
            step=self.step,
        )
        seconds = sum(program.seconds for program in programs) + _GRACE_SECONDS
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=seconds))
        return None

    def _ship(self, session: WorkerSession, worker: Worker, settings: Settings) -> None:
        target = worker.shard_file(self.scan_id, self.shard)
        session.make_dir(target.parent)
        session.put(settings.scans_dir / self.scan_id / "shards" / f"{self.shard}.jsonl.zst", target)

    def _remove_job(self, worker: Worker) -> None:
        try:
            with worker_session(worker) as session:
                session.remove(worker.job_dir(self.scan_id, self.shard))
        except WorkerError as error:
            self.log.warning("%s; the directory of the job stays until the end of the scan", error)

    def _wait_for_worker(self) -> NoReturn:
        self.log.info("shard %s waits for a worker that has room", self.shard)
        self.defer(trigger=ClaimTrigger(str(self._scan_dir()), self.shard), method_name="execute_claimed")
        raise AssertionError("deferring does not return")

    def _fail(self, error: WorkerError) -> NoReturn:
        """Go on with another worker, if there is one; else fail, so that this one is tried again after a while."""
        with self._fleet() as fleet:
            moves = fleet.strike(self.shard, str(error), begin_again=not isinstance(error, _GOES_ON))
        if not moves:
            raise error
        self.log.warning("%s; shard %s goes to another worker", error, self.shard)
        self._wait_for_worker()

    def _state(self) -> FleetShard:
        with self._fleet() as fleet:
            return fleet.shards[self.shard]

    def _fleet(self) -> AbstractContextManager[Fleet]:
        return open_fleet(self._scan_dir())

    def _scan_dir(self) -> Path:
        return Settings.load().scans_dir / self.scan_id


class PrefetchOperator(ShardOperator):
    """Claim a worker for a shard, and fetch its distribution files from the mirror to the worker's disk."""

    step = "prefetch"

    def execute(self, context: Context) -> Any:
        """Begin with the workers that are listed now."""
        check_ids(self.scan_id, self.shard)
        update_workers(Settings.load(), self.scan_id, context["params"]["package_timeout"])
        self._wait_for_worker()


class ScanOperator(ShardOperator):
    """Scan the prefetched packages of a shard with Aura."""

    step = "scan"

    def programs(self, worker: Worker, settings: Settings, context: Context, shard: FleetShard) -> list[Program]:
        before = super().programs(worker, settings, context, shard)
        timeout = int(context["params"]["package_timeout"])
        return before if shard.scanned else [*before, _scan(worker, settings, self.scan_id, self.shard, timeout)]

    def note_submitted(self, fleet: Fleet) -> None:
        if fleet.shards[self.shard].started is None:
            fleet.started(self.shard, time.time())

    def note_done(self, fleet: Fleet) -> None:
        fleet.fetched(self.shard)
        fleet.scanned(self.shard, time.time())


class CollectOperator(ScanOperator):
    """Copy the results of a shard to the control host, checked and ready to be packed; returns their counts."""

    step = "collect"

    def finish(self, worker: Worker) -> Any:
        try:
            return asdict(collect_results(Settings.load(), self.scan_id, self.shard, worker))
        except WorkerError as error:
            self._fail(error)


def _worker_of(state: FleetShard) -> Worker:
    assert state.worker, "a shard that is worked on is on a worker"
    return Worker.from_connection(state.worker)


def _prefetch(worker: Worker, settings: Settings, scan_id: str, shard: str) -> Program:
    command = [
        *_program(worker, scan_id, shard, "prefetch.py"),
        f"--source={settings.mirror_source}",
    ]
    return Program(command, PREFETCH_SECONDS)


def _scan(worker: Worker, settings: Settings, scan_id: str, shard: str, package_timeout: int) -> Program:
    command = [
        *_program(worker, scan_id, shard, "scan_shard.py"),
        f"--output={worker.results_dir(scan_id, shard)}",
        f"--share={worker.work_dir / 'cores'}",
        *scanner_options(worker, settings, scan_id, package_timeout),
    ]
    if (settings.scans_dir / scan_id / AURA_DATASET).exists():
        command.append(f"--dataset={worker.dataset_dir(scan_id)}")
    if worker.cores:
        command.append(f"--jobs={worker.cores}")
    return Program(command, SCAN_SECONDS)


def _program(worker: Worker, scan_id: str, shard: str, name: str) -> list[str]:
    return [
        worker.python,
        str(worker.scripts_dir(scan_id) / name),
        f"--shard={worker.shard_file(scan_id, shard)}",
        f"--cache={worker.cache_dir(scan_id, shard)}",
        f"--progress={worker.job_dir(scan_id, shard) / 'progress.json'}",
    ]
