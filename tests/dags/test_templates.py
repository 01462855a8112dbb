"""What Jinja renders in a task, and what reaches it: ids of scans and shards, never text from outside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

READ_FIELDS = """
import json, os, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions._internal.mixins import ResolveMixin
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.definitions.xcom_arg import XComArg

class FromOutside(ResolveMixin):
    def resolve(self, context):
        return "{{ 7 * 7 }}"

def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)

def described(task):
    values = [getattr(task, name) for name in task.template_fields]
    return {
        "fields": list(task.template_fields),
        "files": list(task.template_ext),
        "texts": [text for value in values for text in texts(value)],
        "given": sorted({f"{other.task_id}.{key}" for v in values for other, key in XComArg.iter_xcom_references(v)}),
        "rendered": [task.render_template(value, {}) for value in (FromOutside(), "{{ 7 * 7 }}")],
        "expanded": isinstance(task, MappedOperator),
    }

bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
assert not bag.import_errors, bag.import_errors
tasks = {f"{dag.dag_id}.{task.task_id}": described(task) for dag in bag.dags.values() for task in dag.tasks}
print("TASKS" + json.dumps(tasks))
"""

# What a task is given of others: their results. What is in them is from outside only where it says so.
GIVEN = {
    "plan.scan_id": "an id, checked where it is used",
    "divide.return_value": "ids of shards, checked where they are used",
    "prepare.scanner": "what a worker says of its scanner: words, checked by Scanner",
    "sync.return_value": "numbers, and the path of a list",
    "fetch.return_value": "numbers",
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """{dag_id.task_id: what Airflow renders of the task}, read in a process of its own."""
    home = tmp_path_factory.mktemp("airflow")
    env = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": f"{PROJECT / 'dags'}:{PROJECT / 'plugins'}",
        "PATH": "/usr/bin:/bin",
    }
    read = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_FIELDS], env=env, cwd=home, capture_output=True, text=True
    )
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout.partition("TASKS")[2])


def test_no_task_has_a_template_of_its_own(tasks):
    assert len(tasks) > 15
    for task_id, task in tasks.items():
        assert not [text for text in task["texts"] if "{" in text], task_id
        assert task["files"] == [], task_id


def test_operators_on_workers_render_ids_alone(tasks):
    for step in ("prefetch", "scan", "collect"):
        assert tasks[f"global_scan.shards.{step}"]["fields"] == ["scan_id", "shard"]


def test_tasks_are_given_what_is_listed(tasks):
    assert {given for task in tasks.values() for given in task["given"]} == GIVEN.keys()
    of_scanner = {task_id for task_id, task in tasks.items() if "prepare.scanner" in task["given"]}
    assert of_scanner == {"global_scan.divide"}


def test_what_a_task_is_given_is_not_rendered(tasks):
    for task_id, task in tasks.items():
        assert task["rendered"] == ["{{ 7 * 7 }}", "49"], task_id
        assert not task["expanded"], f"{task_id}: Airflow renders what a single task is expanded over"
