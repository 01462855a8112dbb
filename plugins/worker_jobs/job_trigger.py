"""The trigger that follows a job on a worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.ssh.triggers.ssh_remote_job import SSHRemoteJobTrigger
from airflow.triggers.base import TriggerEvent


class WorkerJobTrigger(SSHRemoteJobTrigger):
    """Looks at the job for the first time after `poll_interval` seconds, not at once.

    A job that ends at once would resume its task before the scheduler has heard that the task's process had ended, and
    the scheduler takes that for a task that was killed.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes the trigger of."""
        _, arguments = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, when the job has ended or can no longer be followed."""
        await asyncio.sleep(self.poll_interval)
        async for event in super().run():
            yield event
