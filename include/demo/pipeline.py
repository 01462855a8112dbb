"""The main job from end to end: download stats, sync, datasets, global scan, dataset on the CDN."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from demo.airflow_client import DAGS, AirflowClient
from demo.airflow_services import Airflow, airflow
from demo.processes import DemoError
from demo.report import Stage, print_report
from demo.world import WORKERS_VARIABLE, World, worker_names, world
from pypi_scan.scan_progress import read_progress

_RUN_SECONDS = 900.0
SCAN_PARAMS = {"shards": 3, "package_timeout": 120}


def play(directory: Path, console: Console, *, workers: int, stay: bool) -> None:
    """Start a world and Airflow below `directory`, run the pipeline once, report; raises DemoError if anything failed.

    With `stay`, everything keeps running until the process is interrupted.
    """
    say = _Narrator(console)
    say("building the small world")
    with world(directory, workers=workers) as here:
        summary = here.upstream_summary
        say(
            f"upstream PyPI: {summary.own_packages} packages made for the demo, {summary.real_packages} real ones, "
            f"{summary.releases} releases, {summary.files} files"
        )
        if summary.notice:
            say(summary.notice)
        say("starting Airflow (about half a minute)")
        with airflow(here.root / "airflow", here.cache, here.env, here.logs) as flow:
            flow.client.set_variable(WORKERS_VARIABLE, ", ".join(worker_names(workers)))
            say(f"Airflow is healthy at {flow.url}")
            stages, scan_id = run_pipeline(flow.client, here, say)
            print_report(console, here, stages, scan_id)
            if stay:
                _serve(console, here, flow)


def run_pipeline(client: AirflowClient, here: World, say: "_Narrator") -> tuple[list[Stage], str]:
    """Fetch download stats, sync, see the datasets follow, scan; return the timed stages and the scan's id."""
    # First and alone: statistics that change would start dataset_regeneration, and there is no mirror yet.
    client.unpause("download_stats")
    stats = client.trigger("download_stats")
    stages = [_follow(client, "download_stats", stats, say)]
    for dag_id in sorted(DAGS):
        client.unpause(dag_id)
    sync = client.trigger("pypi_sync")
    stages.append(_follow(client, "pypi_sync", sync, say))
    stages.append(_follow(client, "dataset_regeneration", _asset_triggered_run(client), say))
    scan = client.trigger("global_scan", SCAN_PARAMS)
    stages.append(_follow(client, "global_scan", scan, say, here.scans))
    return stages, client.xcom("global_scan", scan, "plan")["scan_id"]


class _Narrator:
    """Prints lines with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._start:6.1f} s  {text}", markup=False)


def _asset_triggered_run(client: AirflowClient) -> str:
    """Return the run of dataset_regeneration that the sync's asset event started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in client.runs("dataset_regeneration"):
            if run["run_type"] == "asset_triggered":
                return str(run["dag_run_id"])
        time.sleep(0.5)
    raise DemoError("dataset_regeneration did not start within a minute of the sync")


def _follow(client: AirflowClient, dag_id: str, run_id: str, say: _Narrator, scans: Path | None = None) -> Stage:
    """Follow a run to its end, saying what changes; return what it took."""
    said = ""
    tasks: list[dict[str, Any]] = []
    for tasks in client.follow(dag_id, run_id, _RUN_SECONDS):
        states = Counter(str(task["state"]) for task in tasks)
        done = states["success"] + states["skipped"]
        active = sorted({_label(task) for task in tasks if task["state"] in ("running", "deferred", "queued")})
        line = f"{dag_id}: {done} of {len(tasks)} tasks done"
        if active:
            line += f"; now {', '.join(active)}"
        if scans and (scanned := _scanned_packages(scans)):
            line += f"; {scanned} packages scanned"
        if line != said:
            say(line)
            said = line
    return Stage(dag_id, tasks)


def _label(task: dict[str, Any]) -> str:
    name = str(task["task_id"]).rpartition(".")[2]
    return f"{name} of shard {task['map_index'] + 1}" if task["map_index"] >= 0 else name


def _scanned_packages(scans: Path) -> int:
    shards = (shard for scan_dir in scans.glob("*") for shard in read_progress(scan_dir).values())
    return sum(shard.done for shard in shards if shard.step == "scan")


def _serve(console: Console, here: World, flow: Airflow) -> None:
    console.print(
        f"\nAirflow's web UI: {flow.url}   user: {flow.username}   password: {flow.password}\n"
        f"Datasets:         {here.store.public_url}/pypi_datasets/index/datasets.html\n"
        f"Mirror for pip:   {here.mirror.url}/simple/\n"
        "Press Ctrl-C to stop everything.",
        markup=False,
    )
    threading.Event().wait()
