"""The pools that tasks of this project run in, made and kept right whenever a service of Airflow starts."""

import sys
from types import ModuleType
from typing import ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

POOLS = {
    "worker_prefetch": (
        32,
        "Shards that wait for room on a worker or are fetched; more than there are workers",
    ),
    "collect": (2, "Shards whose results are checked at the same time; about 400 MB of memory each"),
}
"""Slots and description by name; a deferred task holds its slot."""


@hookimpl  # type: ignore[untyped-decorator]
def on_starting(component: object) -> None:
    """Make the pools; called in every process of Airflow, of which those that run a job may use its database."""
    if type(component).__name__ != "Job":
        return
    from airflow.models.pool import Pool
    from sqlalchemy.exc import IntegrityError

    for name, (slots, description) in POOLS.items():
        try:
            Pool.create_or_update_pool(name, slots, description, include_deferred=True)
        except IntegrityError:  # another service starts at the same moment, and was faster
            continue


class WorkerPools(AirflowPlugin):  # type: ignore[misc]
    """Tells Airflow of `on_starting`."""

    name = "worker_pools"
    listeners: ClassVar[list[ModuleType]] = [sys.modules[__name__]]
