"""The part of Airflow's REST API (v2) that the demo needs."""

import json
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from demo.processes import DemoError

DAGS = {"download_stats", "pypi_sync", "mirror_verify", "dataset_regeneration", "global_scan"}
_FINISHED = {"success", "failed"}


class AirflowClient:
    """A session with an Airflow at `url`; logs in when it first has to."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._credentials = {"username": username, "password": password}
        self._http = httpx.Client(base_url=url, timeout=60.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def is_healthy(self) -> bool:
        """Whether every service has a heartbeat and all DAGs have been parsed."""
        try:
            health = self._http.get("/api/v2/monitor/health").json()
            parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            if not all(health[part]["status"] == "healthy" for part in parts):
                return False
            self._check_imports()
            return {dag["dag_id"] for dag in self.request("GET", "/dags")["dags"]} >= DAGS
        except (httpx.TransportError, KeyError, ValueError):
            return False

    def _check_imports(self) -> None:
        for broken in self.request("GET", "/importErrors")["import_errors"]:
            raise DemoError(f"Airflow cannot import {broken['filename']}:\n{broken['stack_trace']}")

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call ``/api/v2<path>`` and return the JSON of the answer; raises DemoError for a status of 400 or more."""
        if "Authorization" not in self._http.headers:
            answer = self._http.post("/auth/token", json=self._credentials).raise_for_status()
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        answer = self._http.request(method, f"/api/v2{path}", **kwargs)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            del self._http.headers["Authorization"]  # the token has expired
            return self.request(method, path, **kwargs)
        if answer.is_error:
            raise DemoError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def set_variable(self, key: str, value: str) -> None:
        """Set a variable, whether it is there or not."""
        entities = [{"key": key, "value": value}]
        action = {"action": "create", "entities": entities, "action_on_existence": "overwrite"}
        self.request("PATCH", "/variables", json={"actions": [action]})

    def add_connection(self, conn_id: str, connection: dict[str, Any]) -> None:
        """Make a connection of the dict that an ``AIRFLOW_CONN_`` variable holds as JSON."""
        body = {**connection, "connection_id": conn_id, "extra": json.dumps(connection["extra"])}
        self.request("POST", "/connections", json=body)

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run on its schedule."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, logical_date: str | None = None) -> str:
        """Start a run by hand and return its id."""
        body = {"logical_date": logical_date, "conf": conf or {}}
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def clear(self, dag_id: str, run_id: str, tasks: list[dict[str, Any]]) -> None:
        """Clear task instances of a run and what is downstream of them, so that they run again."""
        mapped = [[task["task_id"], task["map_index"]] for task in tasks if task["map_index"] >= 0]
        others = [task["task_id"] for task in tasks if task["map_index"] < 0]
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [*mapped, *others],
            "include_downstream": True,
            "only_failed": False,
        }
        self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, oldest first."""
        return list(self.request("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "run_after"})["dag_runs"])

    def follow(self, dag_id: str, run_id: str, seconds: float) -> Iterator[list[dict[str, Any]]]:
        """Yield the task instances of a run every second or so until it has ended.

        Raises DemoError if the run failed, with the tasks that did, or did not end within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            tasks = self.task_instances(dag_id, run_id)
            yield tasks
            if state in _FINISHED:
                break
            if time.monotonic() > deadline:
                raise DemoError(f"{dag_id} did not end within {seconds:.0f} seconds")
            time.sleep(1.0)
        if state != "success":
            failed = [task for task in tasks if task["state"] == "failed"]
            raise DemoError("\n".join([f"{dag_id} failed:", *(self._why(task) for task in failed)]))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, at most 1,000."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.request("GET", path, params={"limit": 1000})["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.request("GET", path)["value"]

    def _why(self, task: dict[str, Any]) -> str:
        path = (
            f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/logs/{max(task['try_number'], 1)}"
        )
        events = self.request("GET", path, params={"map_index": task["map_index"], "full_content": True})["content"]
        texts = [event if isinstance(event, str) else event.get("event", "") for event in events]
        errors = [
            detail["exc_value"]
            for event in events
            if isinstance(event, dict)
            for detail in event.get("error_detail") or []
        ]
        said = "\n      ".join(errors or texts[-10:])
        return f"  {task['task_id']} [{task['map_index']}], try {task['try_number']}:\n      {said}"
