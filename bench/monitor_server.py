"""Airflow's API server with this project's plugins on a socket that it is given, and a scan in Airflow's metadata.

Prints ``token`` and that of a viewer once it is ready. The socket is given as a file descriptor, the scan as the id of
its run and its number of shards.
"""

import socket
import sys
import uuid
from datetime import UTC, datetime, timedelta

import uvicorn
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import insert

SCAN_DAG = "global_scan"
_STEPS = ("prefetch", "scan", "collect", "evict")


def main(listening: int, run_id: str, shards: int) -> None:
    """Serve until terminated."""
    initdb()
    _add_run(run_id, shards)
    app = create_app(apps="core")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="someone", role="viewer"))
    print(f"token {token}", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[socket.socket(fileno=listening)])


def _add_run(run_id: str, shards: int) -> None:
    """Have a run of the DAG of scans with all tasks of its shards, the first half of which have succeeded."""
    began = datetime.now(UTC) - timedelta(days=1)
    tasks = [
        {
            "id": uuid.uuid4(),
            "dag_id": SCAN_DAG,
            "run_id": run_id,
            "task_id": f"shards.{step}",
            "map_index": index,
            "state": "success" if index < shards // 2 else None,
            "pool": "default_pool",
            "pool_slots": 1,
            "try_number": 1,
            "max_tries": 0,
        }
        for index in range(shards)
        for step in _STEPS
    ]
    with create_session() as session:
        session.add(
            DagRun(
                dag_id=SCAN_DAG,
                run_id=run_id,
                run_after=began,
                start_date=began,
                run_type=DagRunType.MANUAL,
                state="running",
                triggered_by=DagRunTriggeredByType.TEST,
            )
        )
        session.flush()
        session.execute(insert(TaskInstance.__table__), tasks)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
