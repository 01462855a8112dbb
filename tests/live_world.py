"""The small world with a real Airflow in it, for tests that run the DAGs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.airflow_client import DAGS, AirflowClient
from demo.airflow_services import airflow
from demo.world import World, world

RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Live:
    """A running world, and Airflow in it, at `url`, where the user `admin` logs in with `password`."""

    world: World
    airflow: AirflowClient
    url: str
    password: str

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
        running = Live(here, flow.client, flow.url, flow.password)
        # First and alone: statistics that change would start dataset_regeneration, and there is no mirror yet.
        flow.client.unpause("download_stats")
        running.run("download_stats")
        for dag_id in DAGS:
            flow.client.unpause(dag_id)
        yield running
