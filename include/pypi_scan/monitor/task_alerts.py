"""What the alerts say of tasks that failed for good."""

import os
from pathlib import Path

import msgspec

_TAIL_BYTES = 512 * 1024  # the latest alerts; the file grows for ever
_MOST = 50


class Alert(msgspec.Struct, frozen=True):
    """A line of ``alerts.jsonl``: `at` is ISO 8601, `about` names what it is about, `text` says why."""

    at: str
    alert: str
    about: str
    text: str


def failed_tasks(alerts: Path, dag_id: str, run_id: str) -> list[Alert]:
    """Return the alerts of tasks of a run that failed, the latest first, `about` without the run; at most 50."""
    try:
        with alerts.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL_BYTES, 0))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    run = f"{dag_id} {run_id} "
    found: list[Alert] = []
    for line in reversed(lines):
        try:
            alert = msgspec.json.decode(line, type=Alert)
        except msgspec.MsgspecError:
            continue  # cut off by where the tail begins
        if alert.alert == "task_failed" and alert.about.startswith(run):
            found.append(msgspec.structs.replace(alert, about=alert.about.removeprefix(run)))
    return found[:_MOST]
