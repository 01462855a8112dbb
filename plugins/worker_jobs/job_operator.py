"""The steps of a shard on a worker, each a job of include/scripts: detached, polled by a trigger, bounded in time."""

import shlex
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

from airflow.providers.ssh.operators.ssh_remote_job import SSHRemoteJobOperator
from airflow.providers.ssh.triggers.ssh_remote_job import SSHRemoteJobTrigger
from airflow.sdk import Context
from airflow.triggers.base import BaseTrigger
from msgspec.structs import asdict

from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.fleet import Fleet, FleetShard
from pypi_scan.fleet_file import open_fleet
from pypi_scan.settings import Settings
from worker_jobs.claim_trigger import ClaimTrigger
from worker_jobs.job_trigger import WorkerJobTrigger
from worker_jobs.tasks import collect_results, scanner_options, update_workers
from worker_jobs.worker import (
    CONNECTION_ERRORS,
    Worker,
    WorkerError,
    WorkerUnreachableError,
    check_ids,
    connection_error,
    last_words,
    worker_session,
)

PREFETCH_SECONDS = 12 * 3600
SCAN_SECONDS = 24 * 3600  # some of it may be waiting, on the worker, for the scan of another shard to end
_GRACE_SECONDS = 60


class ShardOperator(SSHRemoteJobOperator):
    """A step of one shard on the worker that has claimed the shard; where none has, it waits for one with room.

    The job is detached from the SSH connection; a trigger follows its log until it ends. A retry starts the program
    again, which waits until a former one of the same shard has ended and goes on where that stopped. If the worker is
    lost the shard goes to another one, and this step does there what the steps before it had done.

    :param scan_id: the scan, as the plan named it (templated)
    :param shard: the shard, as the division numbered it (templated)
    """

    template_fields: Sequence[str] = ("scan_id", "shard")
    template_ext: Sequence[str] = ()
    step: str

    def __init__(self, *, scan_id: str, shard: str, **kwargs: Any) -> None:
        super().__init__(
            ssh_conn_id="",
            command="",
            remote_os="posix",
            timeout=PREFETCH_SECONDS + SCAN_SECONDS + _GRACE_SECONDS,
            conn_timeout=20,
            cleanup="on_success",
            **kwargs,
        )
        self.scan_id = scan_id
        self.shard = shard

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
        worker = self._use_worker(self._state())
        exit_code = event.get("exit_code")
        if exit_code is None:
            self._lost(f"worker {worker.conn_id}: {event.get('message')}")
        if exit_code != 0:
            for line in event["log_chunk"].splitlines():
                self.log.info("[remote] %s", line)
            if exit_code in (124, 137):
                reason = "was ended after its time limit, or killed"
            else:
                reason = f"{last_words(self._log_end(worker, event))} (exit code {exit_code})"
            raise self._failed(f"worker {worker.conn_id}: {self.step} of shard {self.shard}: {reason}")
        super().execute_complete(context, event)
        with self._fleet() as fleet:
            self.note_done(fleet)
        return self.finish(worker)

    def defer(self, *, trigger: BaseTrigger, **kwargs: Any) -> None:
        """Defer; to a trigger that looks at a job for the first time after a while, if it is for a job."""
        if isinstance(trigger, SSHRemoteJobTrigger):
            _, arguments = trigger.serialize()
            trigger = WorkerJobTrigger(**arguments)
            with self._fleet() as fleet:
                self.note_submitted(fleet)
        super().defer(trigger=trigger, **kwargs)

    def programs(self, worker: Worker, settings: Settings, context: Context, shard: FleetShard) -> list[list[str]]:
        """Return the programs to run one after the other, with their arguments; none if nothing is to be done."""
        return [] if shard.fetched else [_prefetch(worker, settings, self.scan_id, self.shard)]

    def note_submitted(self, fleet: Fleet) -> None:
        """Note that the job was submitted."""

    def note_done(self, fleet: Fleet) -> None:
        """Note what the job has done."""
        fleet.fetched(self.shard)

    def finish(self, worker: Worker) -> Any:
        """Do what is to be done on the control host at the end, and return the task's result."""

    def _go_on(self, context: Context, state: FleetShard) -> Any:
        settings, worker = Settings.load(), self._use_worker(state)
        programs = self.programs(worker, settings, context, state)
        if not programs:
            return self.finish(worker)
        # In a shell of its own: without it the wrapper of SSHRemoteJobOperator loses the exit code.
        self.command = f"bash -c {shlex.quote(' && '.join(map(shlex.join, programs)))}"
        try:
            if not state.fetched:
                self._ship(worker, settings)
            super().execute(context)
        except WorkerUnreachableError as error:
            self._lost(str(error))
        except CONNECTION_ERRORS as error:
            self._lost(str(connection_error(worker.conn_id, error)))
        return None

    def _ship(self, worker: Worker, settings: Settings) -> None:
        target = worker.shard_file(self.scan_id, self.shard)
        with worker_session(worker) as session:
            session.make_dir(target.parent)
            session.put(settings.scans_dir / self.scan_id / "shards" / f"{self.shard}.jsonl.zst", target)

    def _wait_for_worker(self) -> NoReturn:
        self.log.info("shard %s waits for a worker that has room", self.shard)
        super().defer(trigger=ClaimTrigger(str(self._scan_dir()), self.shard), method_name="execute_claimed")
        raise AssertionError("deferring does not return")

    def _lost(self, reason: str) -> NoReturn:
        """Go on with another worker, if there is one; else fail, so that this one is tried again after a while."""
        with self._fleet() as fleet:
            moves = fleet.strike(self.shard, reason)
        if not moves:
            raise WorkerUnreachableError(reason)
        self.log.warning("%s; shard %s goes to another worker", reason, self.shard)
        self._wait_for_worker()

    def _failed(self, reason: str) -> WorkerError:
        with self._fleet() as fleet:
            fleet.strike(self.shard, reason)
        return WorkerError(reason)

    def _use_worker(self, state: FleetShard) -> Worker:
        assert state.worker, "a shard that is worked on is on a worker"
        worker = Worker.from_connection(state.worker)
        self.ssh_conn_id = worker.conn_id
        self.remote_base_dir = str(worker.jobs_dir(self.scan_id))
        return worker

    def _state(self) -> FleetShard:
        with self._fleet() as fleet:
            return fleet.shards[self.shard]

    def _fleet(self) -> AbstractContextManager[Fleet]:
        return open_fleet(self._scan_dir())

    def _scan_dir(self) -> Path:
        return Settings.load().scans_dir / self.scan_id

    def _log_end(self, worker: Worker, event: dict[str, Any]) -> str:
        """Return the end of the job's log. The event may lack it: the trigger reads a part of the log at a time."""
        try:
            with worker_session(worker) as session:
                return session.run(["tail", "-c", "4096", "--", event["log_file"]])
        except WorkerError as error:
            self.log.warning("the end of the log cannot be read: %s", error)
            return str(event["log_chunk"])


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

    def programs(self, worker: Worker, settings: Settings, context: Context, shard: FleetShard) -> list[list[str]]:
        before = super().programs(worker, settings, context, shard)
        timeout = int(context["params"]["package_timeout"])
        return before if shard.scanned else [*before, _scan(worker, settings, self.scan_id, self.shard, timeout)]

    def note_submitted(self, fleet: Fleet) -> None:
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
        except WorkerUnreachableError as error:
            self._lost(str(error))
        except WorkerError as error:
            raise self._failed(str(error)) from error


def _prefetch(worker: Worker, settings: Settings, scan_id: str, shard: str) -> list[str]:
    return [
        *_program(worker, scan_id, PREFETCH_SECONDS, "prefetch.py"),
        f"--shard={worker.shard_file(scan_id, shard)}",
        f"--source={settings.mirror_source}",
        f"--cache={worker.cache_dir(scan_id, shard)}",
    ]


def _scan(worker: Worker, settings: Settings, scan_id: str, shard: str, package_timeout: int) -> list[str]:
    command = [
        *_program(worker, scan_id, SCAN_SECONDS, "scan_shard.py"),
        f"--shard={worker.shard_file(scan_id, shard)}",
        f"--cache={worker.cache_dir(scan_id, shard)}",
        f"--output={worker.results_dir(scan_id, shard)}",
        f"--share={worker.work_dir / 'cores'}",
        *scanner_options(worker, settings, scan_id, package_timeout),
    ]
    if (settings.scans_dir / scan_id / AURA_DATASET).exists():
        command.append(f"--dataset={worker.dataset_dir(scan_id)}")
    if worker.cores:
        command.append(f"--jobs={worker.cores}")
    return command


def _program(worker: Worker, scan_id: str, seconds: int, name: str) -> list[str]:
    # In the foreground: else timeout leaves the job's process group, and ending the group would not end the job.
    timeout = ["timeout", "--foreground", "--kill-after=30", str(seconds)]
    return [*timeout, worker.python, str(worker.scripts_dir(scan_id) / name)]
