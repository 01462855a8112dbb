"""Alerts: what a person should know before they look. docs/operations.md says what to do about each.

An alert is an error in the log of whichever service raises it, and a line of ``alerts.jsonl`` in the state directory,
``{"at", "alert", "about", "text"}``. If there is an Airflow connection `pypi_alerts` (type http, with the address of a
webhook as its host, and optionally a token as its password), it also gets ``{"text": "<alert>: <text>"}``, which is
what chat servers take.
"""

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from airflow.sdk import BaseHook
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowNotFoundException
from asgiref.sync import sync_to_async

from pypi_scan.plan import planned_scan_ids
from pypi_scan.scan_progress import read_progress
from pypi_scan.settings import Settings
from pypi_scan.sync import last_sync_time

log = logging.getLogger(__name__)

ALERTS = "alerts.jsonl"
ALERTS_CONN_ID = "pypi_alerts"
SYNC_LATE = timedelta(hours=3)
SCAN_LATE = timedelta(days=1)
_WEBHOOK_SECONDS = 10


def raise_alert(alert: str, about: str, text: str) -> None:
    """Tell people; what fails on the way is logged, and raises nothing."""
    log.error("alert %s: %s: %s", alert, about, text)
    line = json.dumps({"at": datetime.now(UTC).isoformat(), "alert": alert, "about": about, "text": text})
    with (Settings.load().state_dir / ALERTS).open("a", encoding="ascii") as file:
        file.write(f"{line}\n")
    try:
        webhook = BaseHook.get_connection(ALERTS_CONN_ID)
    except AirflowNotFoundException:
        return
    headers = {"Authorization": f"Bearer {webhook.password}"} if webhook.password else {}
    try:
        answer = requests.post(
            webhook.host, json={"text": f"{alert}: {about}: {text}"}, headers=headers, timeout=_WEBHOOK_SECONDS
        )
        answer.raise_for_status()
    except requests.RequestException as error:
        log.warning("the webhook of the connection %s did not take the alert: %s", ALERTS_CONN_ID, type(error).__name__)


def task_failed(context: Any) -> None:
    """Tell that a task has failed for good; an `on_failure_callback`."""
    task = context["ti"]
    shard = f" [{task.map_index}]" if task.map_index >= 0 else ""
    about = f"{task.dag_id} {task.run_id} {task.task_id}{shard}"
    raise_alert("task_failed", about, str(context.get("exception") or "see its log")[:500])


async def sync_late(context: dict[str, Any]) -> None:
    """Tell that the mirror is old, if it is: a run that failed misses its deadline also where a later one succeeded."""
    age = time.time() - last_sync_time(Settings.load())
    if age >= SYNC_LATE.total_seconds():
        text = f"the last sync that succeeded was {age / 3600:,.1f} hours ago"
        await sync_to_async(raise_alert)("sync_late", context["dag_run"]["dag_run_id"], text)


async def scan_late(context: dict[str, Any]) -> None:
    """Tell that a scan takes longer than others did, and how far it is."""
    run_id, scans_dir = context["dag_run"]["dag_run_id"], Settings.load().scans_dir
    shards = [
        shard
        for scan_id in planned_scan_ids(scans_dir, run_id)
        for shard in read_progress(scans_dir / scan_id).values()
    ]
    done = sum(shard.done for shard in shards if shard.step != "prefetch")
    await sync_to_async(raise_alert)("scan_late", run_id, f"{done} packages in {len(shards)} shards so far")


SYNC_DEADLINE = DeadlineAlert(
    name="sync_late",
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=SYNC_LATE,
    callback=AsyncCallback(sync_late),
)
SCAN_DEADLINE = DeadlineAlert(
    name="scan_late",
    reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=6, min_runs=1),
    interval=SCAN_LATE,
    callback=AsyncCallback(scan_late),
)
