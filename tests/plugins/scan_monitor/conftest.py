"""Airflow's real API server, with its metadata in a database and with users, without a network between."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, insert
from tests.pypi_scan.conftest import make_mirror, make_scan  # noqa: F401 - fixtures

NOW = datetime(2026, 11, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="session")
def api_server() -> object:
    """Airflow's API server as it is deployed, with the plugins of this project."""
    from airflow.api_fastapi.app import create_app
    from airflow.utils.db import initdb

    initdb()
    return create_app(apps="core")


@pytest.fixture
def browse(api_server, control_host) -> Callable[..., TestClient]:
    """A browser in which somebody with a role is logged in, or nobody."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def browser(role: str | None = "viewer", *, logged_in: bool = True) -> TestClient:
        client = TestClient(api_server, base_url="http://airflow.example", follow_redirects=False)
        if logged_in:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="someone", role=role))
            client.cookies.set("_token", token)
        return client

    return browser


SETTINGS = {
    "MIRROR_ROOT": "mirror",
    "STATE_DIR": "state",
    "SCANS_DIR": "scans",
    "MIRROR_SOURCE": "http://mirror.example",
    "CDN_BUCKET": "bucket",
    "CDN_PUBLIC_URL": "https://cdn.example",
}


@pytest.fixture
def control_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a control host whose directories lie below the path."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"PYPI_SCAN_{name}", str(tmp_path / value) if name.endswith(("ROOT", "DIR")) else value)
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def airflow_run(api_server) -> Iterator[Callable[..., None]]:
    """Put a run of the DAG of scans into Airflow's metadata, with {(task, map index): state}, or replace it."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    def make(run_id: str, state: str, tasks: Mapping[tuple[str, int], str | None]) -> None:
        with create_session() as session:
            session.execute(delete(TaskInstance).where(TaskInstance.run_id == run_id))
            session.execute(delete(DagRun).where(DagRun.run_id == run_id))
            run = DagRun(
                dag_id="global_scan",
                run_id=run_id,
                run_after=NOW,
                start_date=NOW,
                run_type=DagRunType.MANUAL,
                state=state,
                triggered_by=DagRunTriggeredByType.TEST,
            )
            session.add(run)
            session.flush()
            for (task_id, map_index), task_state in tasks.items():
                session.execute(
                    insert(TaskInstance.__table__).values(
                        id=uuid.uuid4(),
                        dag_id="global_scan",
                        run_id=run_id,
                        task_id=task_id,
                        map_index=map_index,
                        state=task_state,
                        pool="default_pool",
                        pool_slots=1,
                        try_number=1,
                        max_tries=0,
                    )
                )

    yield make
    with create_session() as session:
        session.execute(delete(TaskInstance))
        session.execute(delete(DagRun))
