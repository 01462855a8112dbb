"""One program of include/scripts as a job on a worker: detached, polled by a trigger, bounded in time."""

import shlex
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from airflow.providers.ssh.operators.ssh_remote_job import SSHRemoteJobOperator
from airflow.providers.ssh.triggers.ssh_remote_job import SSHRemoteJobTrigger
from airflow.sdk import Context

from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.settings import Settings
from worker_jobs.job_trigger import WorkerJobTrigger
from worker_jobs.worker import (
    CONNECTION_ERRORS,
    Worker,
    WorkerError,
    check_ids,
    connection_error,
    last_words,
    worker_session,
)

_GRACE_SECONDS = 60


class WorkerJobOperator(SSHRemoteJobOperator):
    """Run a program of include/scripts for one shard of a scan on the worker.

    The job is detached from the SSH connection; a trigger follows its log until it ends. A subclass says in
    `arguments` what to run, and in `ship` what the worker must have first. A retry starts the program again, which
    waits until a former one of the same shard has ended and goes on where that stopped.

    :param scan_id: the scan, as the plan named it (templated)
    :param shard: the shard, as the plan numbered it (templated)
    :param time_limit: seconds after which the job is ended on the worker
    """

    template_fields: Sequence[str] = ("scan_id", "shard")
    template_ext: Sequence[str] = ()
    program: str

    def __init__(self, *, scan_id: str, shard: str, time_limit: int, **kwargs: Any) -> None:
        super().__init__(
            ssh_conn_id="",
            command="",
            remote_os="posix",
            timeout=time_limit + _GRACE_SECONDS,
            conn_timeout=20,
            cleanup="on_success",
            **kwargs,
        )
        self.scan_id = scan_id
        self.shard = shard
        self.time_limit = time_limit

    @abstractmethod
    def arguments(self, worker: Worker, settings: Settings, context: Context) -> list[str]:
        """Return the arguments of the program."""

    def ship(self, worker: Worker, settings: Settings) -> None:
        """Bring to the worker what the program needs and is not there yet."""

    def execute(self, context: Context) -> None:
        """Submit the job and defer until it has ended."""
        check_ids(self.scan_id, self.shard)
        settings = Settings.load()
        worker = Worker.from_connection(settings.worker_conn_id)
        self.ship(worker, settings)
        self._use(worker)
        program = [
            worker.python,
            str(worker.scripts_dir(self.scan_id) / self.program),
            *self.arguments(worker, settings, context),
        ]
        # In the foreground: else timeout leaves the job's process group, and ending the group would not end the job.
        timeout = ["exec", "timeout", "--foreground", "--kill-after=30", str(self.time_limit)]
        # In a shell of its own: without it the wrapper of SSHRemoteJobOperator loses the exit code.
        self.command = f"bash -c {shlex.quote(shlex.join([*timeout, *program]))}"
        try:
            super().execute(context)
        except CONNECTION_ERRORS as error:
            raise connection_error(worker.conn_id, error) from error

    def defer(self, *, trigger: SSHRemoteJobTrigger, **kwargs: Any) -> None:
        """Defer to a trigger that looks at the job for the first time after a while."""
        _, arguments = trigger.serialize()
        super().defer(trigger=WorkerJobTrigger(**arguments), **kwargs)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Fail with the program's own last words, if it failed."""
        worker = Worker.from_connection(Settings.load().worker_conn_id)
        self._use(worker)
        exit_code = event.get("exit_code")
        if event.get("done") and exit_code not in (0, None):
            for line in event["log_chunk"].splitlines():
                self.log.info("[remote] %s", line)
            if exit_code in (124, 137):
                reason = f"was ended after its time limit of {self.time_limit} seconds, or killed"
            else:
                reason = f"{last_words(self._log_end(worker, event))} (exit code {exit_code})"
            raise WorkerError(f"worker {worker.conn_id}: {self.program} of shard {self.shard}: {reason}")
        super().execute_complete(context, event)

    def _use(self, worker: Worker) -> None:
        self.ssh_conn_id = worker.conn_id
        self.remote_base_dir = str(worker.jobs_dir(self.scan_id))

    def _log_end(self, worker: Worker, event: dict[str, Any]) -> str:
        """Return the end of the job's log. The event may lack it: the trigger reads a part of the log at a time."""
        try:
            with worker_session(worker) as session:
                return session.run(["tail", "-c", "4096", "--", event["log_file"]])
        except WorkerError as error:
            self.log.warning("the end of the log cannot be read: %s", error)
            return str(event["log_chunk"])


class PrefetchOperator(WorkerJobOperator):
    """Fetch the distribution files of a shard from the mirror to the worker's disk."""

    program = "prefetch.py"

    def ship(self, worker: Worker, settings: Settings) -> None:
        target = worker.shard_file(self.scan_id, self.shard)
        with worker_session(worker) as session:
            session.make_dir(target.parent)
            session.put(settings.scans_dir / self.scan_id / "shards" / f"{self.shard}.jsonl.zst", target)

    def arguments(self, worker: Worker, settings: Settings, context: Context) -> list[str]:
        return [
            f"--shard={worker.shard_file(self.scan_id, self.shard)}",
            f"--source={settings.mirror_source}",
            f"--cache={worker.cache_dir(self.scan_id, self.shard)}",
            f"--ahead={settings.prefetch_ahead}",
        ]


class ScanOperator(WorkerJobOperator):
    """Scan the prefetched packages of a shard with Aura."""

    program = "scan_shard.py"

    def arguments(self, worker: Worker, settings: Settings, context: Context) -> list[str]:
        arguments = [
            f"--shard={worker.shard_file(self.scan_id, self.shard)}",
            f"--cache={worker.cache_dir(self.scan_id, self.shard)}",
            f"--output={worker.results_dir(self.scan_id, self.shard)}",
            f"--timeout={int(context['params']['package_timeout'])}",
        ]
        if not settings.keep_secrets:
            arguments.append(f"--redaction-key={worker.redaction_key(self.scan_id)}")
        if (settings.scans_dir / self.scan_id / AURA_DATASET).exists():
            arguments.append(f"--dataset={worker.dataset_dir(self.scan_id)}")
        if worker.cores:
            arguments.append(f"--jobs={worker.cores}")
        return arguments
