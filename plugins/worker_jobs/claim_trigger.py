"""The trigger that waits until a worker has room for a shard."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from pypi_scan.fleet import NoWorkerError
from pypi_scan.fleet_file import open_fleet
from worker_jobs.failures import WorkerError
from worker_jobs.worker import listed_workers

_POLL_SECONDS = 5.0
_LOOKS_A_LIST = 6  # looks for room between two looks at the list of workers


class ClaimTrigger(BaseTrigger):
    """Claims a worker for a shard; its event is ``{"worker": name}``.

    Or ``{"listed": names}`` once other workers are listed than the fleet has, and ``{"reason": text}`` if no worker is
    left. It looks for the first time after a while, for the same reason as `WorkerJobTrigger`.
    """

    def __init__(self, scan_dir: str, shard: str) -> None:
        super().__init__()
        self.scan_dir = scan_dir
        self.shard = shard

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes the trigger of."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"scan_dir": self.scan_dir, "shard": self.shard}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event."""
        while True:
            for _ in range(_LOOKS_A_LIST):
                await asyncio.sleep(_POLL_SECONDS)
                try:
                    worker = await asyncio.to_thread(self._claim)
                except NoWorkerError as error:
                    yield TriggerEvent({"reason": str(error)})
                    return
                if worker:
                    yield TriggerEvent({"worker": worker})
                    return
            try:
                listed = await sync_to_async(listed_workers)()
            except WorkerError as error:
                self.log.warning("%s", error)  # whoever edits it is not done
                continue
            if set(listed) != await asyncio.to_thread(self._known):
                yield TriggerEvent({"listed": listed})
                return

    def _claim(self) -> str | None:
        with open_fleet(Path(self.scan_dir)) as fleet:
            return fleet.claim(self.shard, time.time())

    def _known(self) -> set[str]:
        with open_fleet(Path(self.scan_dir)) as fleet:
            return {name for name, worker in fleet.workers.items() if not worker.drained}
