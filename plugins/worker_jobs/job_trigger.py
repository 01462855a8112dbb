"""The trigger that follows a job on a worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
from airflow.providers.ssh.hooks.ssh import SSHHookAsync
from airflow.triggers.base import BaseTrigger, TriggerEvent

from pypi_scan.names import printable
from pypi_scan.scan_progress import ShardProgress, write_progress
from pypi_scan.settings import Settings
from worker_jobs.failures import JobLostError
from worker_jobs.job_protocol import MAX_STATUS_BYTES, JobProgress, JobStatus, read_status

_POLL_SECONDS = 5.0
_ANSWER_SECONDS = 30.0  # a worker may take to connect, or to answer a command
_MAX_PAUSE_SECONDS = 15.0
_MAX_LOG_CHARACTERS = 8 * 1024**2
_BROKEN = (OSError, asyncssh.Error, TimeoutError)
_REFUSED = (asyncssh.PermissionDenied, asyncssh.HostKeyNotVerifiable)


class _NoAnswerError(asyncssh.Error):  # type: ignore[misc]  # mypy does not follow asyncssh
    def __init__(self) -> None:
        super().__init__(0, "the connection broke while job.py ran")


class WorkerJobTrigger(BaseTrigger):
    """Follows a job; its event is ``{"how", "message", "exit_code"}`` as job.py has them, when it has ended.

    Or ``{"how": "unreachable" or "refused", "message": sentence}`` of the worker. It looks for the first time after a
    while, not at once: a job that ends at once would resume its task before the scheduler has heard that the task's
    process had ended, and the scheduler takes that for a task that was killed. Where the worker does not answer it
    goes on asking for the setting `worker_patience`. The job keeps account of what was told of its log, so that
    another triggerer tells the rest. When a person clears or marks the task, the job is ended, unless another attempt
    has taken it over.

    `look` and `end` are the command lines for it, `scan_dir`, `shard` and `step` where and as what its progress is
    noted.
    """

    def __init__(self, conn_id: str, look: str, end: str, scan_dir: str, shard: str, step: str) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.look = look
        self.end = end
        self.scan_dir = scan_dir
        self.shard = shard
        self.step = step
        self._told = 0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes the trigger of."""
        names = ("conn_id", "look", "end", "scan_dir", "shard", "step")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event."""
        await asyncio.sleep(_POLL_SECONDS)
        try:
            status = await self._follow()
            event = {"how": status.how, "message": status.message, "exit_code": status.exit_code}
        except JobLostError as error:
            event = {"how": "lost", "message": str(error), "exit_code": None}
        except _REFUSED as error:
            event = {"how": "refused", "message": f"worker {self.conn_id} refuses the connection: {error}"}
        except _BROKEN as error:
            event = {"how": "unreachable", "message": f"worker {self.conn_id} cannot be reached: {error}"}
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """End the job."""
        async with await self._connect() as connection:
            await connection.run(self.end, timeout=_ANSWER_SECONDS)

    async def _follow(self) -> JobStatus:
        """Return the last status of the job, when all of its log was told; raises what `_status` raises."""
        connection, position, answered, failures = None, None, time.monotonic(), 0
        patience = Settings.load().worker_patience
        try:
            while True:
                try:
                    connection = connection or await self._connect()
                    status = await self._status(connection, position)
                except _REFUSED:
                    raise
                except _BROKEN as error:
                    if time.monotonic() - answered > patience:
                        raise
                    failures += 1
                    self.log.warning("worker %s does not answer, it is asked again: %s", self.conn_id, error)
                    if connection:
                        connection.abort()
                    connection = None
                    await asyncio.sleep(min(2.0**failures, _MAX_PAUSE_SECONDS))
                    continue
                answered, failures, position = time.monotonic(), 0, status.position
                self._tell(status.log)
                if status.progress:
                    await asyncio.to_thread(self._note, status.progress)
                if status.how != "running" and not status.more:
                    return status
                if not status.more:
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            if connection:
                connection.abort()

    async def _connect(self) -> asyncssh.SSHClientConnection:
        return await asyncio.wait_for(SSHHookAsync(self.conn_id).get_conn(), _ANSWER_SECONDS)

    async def _status(self, connection: asyncssh.SSHClientConnection, position: int | None) -> JobStatus:
        """Return the status; raises JobLostError if the worker has none, and asyncssh's errors."""
        command = self.look if position is None else f"{self.look} --position={position}"
        async with connection.create_process(command, encoding=None) as process:
            async with asyncio.timeout(_ANSWER_SECONDS):
                said = b""
                while len(said) < MAX_STATUS_BYTES and (block := await process.stdout.read(MAX_STATUS_BYTES)):
                    said += block
                errors = await process.stderr.read(1000)
                await process.wait_closed()
        if process.exit_status is None:
            raise _NoAnswerError
        if process.exit_status != 0:
            raise JobLostError(
                f"worker {self.conn_id} does not know the job: {errors.decode('utf-8', 'replace')[-300:]!r}"
            )
        return read_status(self.conn_id, said)

    def _tell(self, text: str) -> None:
        """Log what the job wrote, up to a limit: a worker can write for ever."""
        if self._told > _MAX_LOG_CHARACTERS:
            return
        for line in text.splitlines():
            self.log.info("[remote] %s", printable(line))
        self._told += len(text)
        if self._told > _MAX_LOG_CHARACTERS:
            self.log.warning("the job writes too much; the rest of its log stays on the worker")

    def _note(self, progress: JobProgress) -> None:
        noted = ShardProgress(
            step=self.step,
            worker=self.conn_id,
            done=progress.done,
            failed=progress.failed,
            total=progress.total,
            rate=progress.rate,
            at=time.time(),
        )
        try:
            write_progress(Path(self.scan_dir), self.shard, noted)
        except OSError as error:
            self.log.warning("the progress of shard %s cannot be noted: %s", self.shard, error)
