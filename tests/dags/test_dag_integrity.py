"""What must hold for every DAG, found by reading the DAG files as Airflow's DAG processor does."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# Every file in dags/ and the number of DAGs in it.
DAG_FILES = {
    "download_stats.py": 1,
    "pypi_sync.py": 1,
    "mirror_verify.py": 1,
    "dataset_regeneration.py": 1,
    "global_scan.py": 1,
}

READ_DAGS = """
import json, os, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
json.dump({
    "import_errors": bag.import_errors,
    "dags": {
        dag.dag_id: {
            "file": os.path.basename(dag.fileloc),
            "doc_md": dag.doc_md,
            "tags": sorted(dag.tags),
            "default_args": sorted(dag.default_args),
            "max_active_runs": dag.max_active_runs,
            "catchup": dag.catchup,
            "start_date": str(dag.start_date),
            "timetable": type(dag.timetable).__name__,
            "any_of": [asset.name for asset in getattr(getattr(dag.timetable, "asset_condition", None), "objects", [])],
            "params": {name: param for name, param in dag.params.dump().items()},
            "forms": {
                name: {"description": param.description, **param.schema}
                for name, param in ((name, dag.params.get_param(name)) for name in dag.params)
            },
            "tasks": {
                task.task_id: {
                    "pool": task.pool,
                    "retries": task.retries,
                    "bounded": task.execution_timeout is not None,
                    "downstream": sorted(task.downstream_task_ids),
                    "trigger_rule": str(task.trigger_rule.value),
                    "mapped": task.get_closest_mapped_task_group() is not None,
                    "template": getattr(task, "map_index_template", None),
                }
                for task in dag.tasks
            },
        }
        for dag in bag.dags.values()
    },
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """What Airflow makes of the DAG files, read in a process of its own so that nothing else is imported before."""
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
        [sys.executable, "-W", "ignore", "-c", READ_DAGS], env=env, cwd=home, capture_output=True, text=True
    )
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout[read.stdout.index('{"import_errors"') :])


def test_every_file_is_listed_and_holds_as_many_dags_as_it_should(bag):
    assert bag["import_errors"] == {}
    assert {path.name for path in (PROJECT / "dags").glob("*.py")} == DAG_FILES.keys()
    found = [dag["file"] for dag in bag["dags"].values()]
    assert {name: found.count(name) for name in DAG_FILES} == DAG_FILES


def test_a_dag_is_named_as_its_file_and_documented_in_it(bag):
    for dag_id, dag in bag["dags"].items():
        assert dag["file"] == f"{dag_id}.py"
        assert dag["doc_md"].strip().startswith("### "), dag_id


def test_every_dag_has_the_common_defaults_and_known_tags(bag):
    for dag_id, dag in bag["dags"].items():
        assert dag["default_args"] == [
            "execution_timeout",
            "on_failure_callback",
            "owner",
            "retries",
            "retry_delay",
            "retry_exponential_backoff",
        ], dag_id
        assert dag["tags"], dag_id
        assert set(dag["tags"]) <= {"mirror", "datasets", "scan"}, dag_id
        assert dag["max_active_runs"] == 1, dag_id
        assert dag["catchup"] is False, dag_id
        # With a start date, unpausing a DAG would at once run the latest date that its schedule missed.
        assert dag["start_date"] == "None", dag_id


def test_every_task_is_bounded_in_time_and_retried(bag):
    for dag_id, dag in bag["dags"].items():
        for task_id, task in dag["tasks"].items():
            assert task["bounded"], f"{dag_id}.{task_id}"
            assert task["retries"] > 0, f"{dag_id}.{task_id}"


def test_every_pool_a_task_names_is_one_that_is_made(bag):
    used = {task["pool"] for dag in bag["dags"].values() for task in dag["tasks"].values()} - {"default_pool"}
    made = ast.parse((PROJECT / "plugins" / "worker_pools.py").read_text())
    (pools,) = [node.value for node in made.body if isinstance(node, ast.Assign) and node.targets[0].id == "POOLS"]
    assert used == ast.literal_eval(pools).keys()


def test_schedules(bag):
    timetables = {dag_id: dag["timetable"] for dag_id, dag in bag["dags"].items()}
    assert timetables == {
        "download_stats": "CronTriggerTimetable",
        "pypi_sync": "CronTriggerTimetable",
        "mirror_verify": "CronTriggerTimetable",
        "dataset_regeneration": "AssetTriggeredTimetable",
        "global_scan": "ScanTimetable",
    }


def test_datasets_follow_the_mirror_and_the_download_statistics(bag):
    assert bag["dags"]["dataset_regeneration"]["any_of"] == ["pypi_mirror", "pypi_download_stats"]


def test_a_shard_is_fetched_scanned_collected_and_evicted(bag):
    tasks = bag["dags"]["global_scan"]["tasks"]
    assert tasks["shards.prefetch"]["downstream"] == ["shards.evict", "shards.scan"]  # setup of evict
    assert tasks["shards.scan"]["downstream"] == ["shards.collect"]
    assert tasks["shards.collect"]["downstream"] == ["editions", "shards.evict"]
    # The SSD is freed after a failure too, and a failure to free it does not fail a run whose dataset is out.
    assert tasks["shards.evict"]["trigger_rule"] == "all_done_setup_success"
    assert tasks["shards.evict"]["downstream"] == ["cleanup"]
    mapped = {task_id: task for task_id, task in tasks.items() if task["mapped"]}
    assert mapped.keys() == {f"shards.{name}" for name in ("prefetch", "scan", "collect", "evict")}
    assert all("shard" in task["template"] for task in mapped.values())


def test_the_form_of_a_global_scan_has_defaults_that_scan_everything_and_publish(bag):
    assert bag["dags"]["global_scan"]["params"] == {
        "as_of": None,
        "packages": [],
        "limit": None,
        "shards": None,
        "package_timeout": 1200,
        "mode": "reuse",
        "publish": True,
        "dry_run": False,
    }


def test_every_param_of_a_form_has_a_title_a_help_and_a_section(bag):
    forms = {dag_id: dag["forms"] for dag_id, dag in bag["dags"].items() if dag["forms"]}
    assert forms.keys() == {"global_scan"}
    for params in forms.values():
        for name, schema in params.items():
            assert all(schema.get(key) for key in ("title", "description", "section")), name
        sections = [schema["section"] for schema in params.values()]
        assert sections == sorted(sections, key=sections.index)  # each is in one piece
