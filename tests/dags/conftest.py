"""The small world with a real Airflow in it: one for all end-to-end tests, and one for those that need their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.airflow_client import DAGS, AirflowClient
from demo.airflow_services import airflow
from demo.world import World, world

RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Live:
    """A running world, and Airflow in it."""

    world: World
    airflow: AirflowClient

    def run(self, dag_id: str, **conf: object) -> list[dict]:
        """Trigger a DAG, wait for its end and return its task instances; raises DemoError if the run failed."""
        run_id = self.airflow.trigger(dag_id, conf)
        *_, tasks = self.airflow.follow(dag_id, run_id, RUN_SECONDS)
        return tasks

    def sync(self) -> list[dict]:
        """Sync, and return the task instances of the run that announced what upstream has changed.

        That is the triggered run, or one of the schedule that was there a moment before.
        """
        earlier = {run["dag_run_id"] for run in self.airflow.runs("pypi_sync")}
        self.run("pypi_sync")
        for run in self.airflow.runs("pypi_sync"):
            tasks = self.airflow.task_instances("pypi_sync", run["dag_run_id"])
            announced = any(task["task_id"] == "announce" and task["state"] == "success" for task in tasks)
            if announced and run["dag_run_id"] not in earlier:
                return tasks
        raise AssertionError("no sync announced a change")


@contextmanager
def live_world(root: Path) -> Iterator[Live]:
    """Start a world below `root`, and Airflow in it with every DAG unpaused."""
    with (
        world(root, real_packages=False) as here,
        airflow(here.root / "airflow", here.cache, here.env, here.logs) as flow,
    ):
        running = Live(here, flow.client)
        # First and alone: statistics that change would start dataset_regeneration, and there is no mirror yet.
        flow.client.unpause("download_stats")
        running.run("download_stats")
        for dag_id in DAGS:
            flow.client.unpause(dag_id)
        yield running


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="module")
def own_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A world for the tests of one module, with nothing published before them."""
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running
