"""What Airflow knows of scans and syncs, read as its own pages read it: from the metadata, in the request's session."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select

from dag_defaults import PYPI_MIRROR

SCAN_DAG = "global_scan"
STEPS = ("prefetch", "scan", "collect", "evict")
_ACTIVE = ("queued", "running")


class Run(NamedTuple):
    """A run of the DAG of scans; times in seconds since the epoch, None as long as it has not begun or ended."""

    run_id: str
    run_type: str
    state: str
    started: float | None
    ended: float | None

    @property
    def active(self) -> bool:
        """Whether anything of it may still change by itself."""
        return self.state in _ACTIVE


class Task(NamedTuple):
    """A task of a run that is not mapped, and its state: None before it was scheduled."""

    task_id: str
    state: str | None


class TaskStates(NamedTuple):
    """The tasks of a run in the order in which they began, and {position of a shard: {step: state}}."""

    tasks: Sequence[Task]
    shards: dict[int, dict[str, str | None]]


def scan_run(session: Any, run_id: str) -> Run | None:
    """Return a run of the DAG of scans, if there is one with this id."""
    found = session.scalar(select(DagRun).where(DagRun.dag_id == SCAN_DAG, DagRun.run_id == run_id))
    return _run(found) if found else None


def scan_runs(session: Any, limit: int) -> list[Run]:
    """Return the latest runs of the DAG of scans, the latest first."""
    latest = select(DagRun).where(DagRun.dag_id == SCAN_DAG).order_by(DagRun.id.desc()).limit(limit)
    return [_run(found) for found in session.scalars(latest)]


def task_states(session: Any, run_id: str) -> TaskStates:
    """Return the state of every task of a run."""
    columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
    rows = session.execute(
        select(*columns)
        .where(TaskInstance.dag_id == SCAN_DAG, TaskInstance.run_id == run_id)
        .order_by(TaskInstance.start_date.is_(None), TaskInstance.start_date, TaskInstance.task_id)
    )
    tasks: list[Task] = []
    shards: dict[int, dict[str, str | None]] = defaultdict(dict)
    for task_id, map_index, state in rows:
        group, _, step = task_id.partition(".")
        if group == "shards" and map_index >= 0:
            shards[map_index][step] = state
        elif group != "shards":
            tasks.append(Task(task_id, state))
    return TaskStates(tasks, dict(shards))


def published_runs(session: Any, run_ids: Collection[str]) -> set[str]:
    """Return those of the runs that have published their dataset."""
    done = select(TaskInstance.run_id).where(
        TaskInstance.dag_id == SCAN_DAG,
        TaskInstance.run_id.in_(run_ids),
        TaskInstance.task_id == "publish",
        TaskInstance.state == "success",
    )
    return set(session.scalars(done))


def mirror_changes(session: Any, hours: int) -> list[tuple[float, int]]:
    """Return when syncs announced changes, in seconds since the epoch, and how many packages changed, of late."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    events = session.execute(
        select(AssetEvent.timestamp, AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.name == PYPI_MIRROR.name, AssetEvent.timestamp >= since)
    )
    return [(at.timestamp(), extra["changed"]) for at, extra in events if isinstance(extra.get("changed"), int)]


def _run(found: Any) -> Run:
    return Run(
        run_id=found.run_id,
        run_type=str(found.run_type),
        state=str(found.state),
        started=found.start_date.timestamp() if found.start_date else None,
        ended=found.end_date.timestamp() if found.end_date else None,
    )
