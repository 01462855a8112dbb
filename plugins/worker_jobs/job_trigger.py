"""The trigger that follows a job on a worker."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
from airflow.providers.ssh.triggers.ssh_remote_job import SSHRemoteJobTrigger
from airflow.providers.ssh.utils.remote_job import build_posix_kill_command
from airflow.triggers.base import TriggerEvent

# Whether the job's shell is there, which is to write the exit code. Its number may be that of another process by now.
_IS_ALIVE = """tr '\\0' ' ' <"/proc/$(cat {pid_file})/cmdline" | grep -qF {job_dir}"""


class JobLostError(Exception):
    """A job is gone, and did not say how it ended."""


class WorkerJobTrigger(SSHRemoteJobTrigger):
    """Looks at the job for the first time after `poll_interval` seconds, not at once, and sees whether it is alive.

    A job that ends at once would resume its task before the scheduler has heard that the task's process had ended, and
    the scheduler takes that for a task that was killed. A job that is killed, or whose machine restarts, writes no exit
    code: the event is then one of an error, without an exit code, as it is for a worker that cannot be reached any
    more. When a person clears or marks the task, the job is ended.
    """

    _missing = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes the trigger of."""
        _, arguments = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, when the job has ended or can no longer be followed."""
        await asyncio.sleep(self.poll_interval)
        async for event in super().run():
            yield event

    async def on_kill(self) -> None:
        """End the job."""
        async with await self._connect() as connection:
            await self._run_command(connection, build_posix_kill_command(self._pid_file))

    async def _check_completion(self, conn: asyncssh.SSHClientConnection) -> int | None:
        is_alive = _IS_ALIVE.format(pid_file=shlex.quote(self._pid_file), job_dir=shlex.quote(self.job_dir))
        missing, _, _ = await self._run_command(conn, is_alive)
        exit_code: int | None = await super()._check_completion(conn)
        if exit_code is None and missing and self._missing:  # twice: it may just have been about to start
            raise JobLostError("the job is gone: it was killed, or its machine has restarted")
        self._missing = bool(missing)
        return exit_code

    @property
    def _pid_file(self) -> str:
        return f"{self.job_dir}/pid"
