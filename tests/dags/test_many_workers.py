"""A second worker joins a scan that is under way, and dies in the middle of it."""

import json
import time
from collections import Counter

import pytest

from demo.ssh_worker import ssh_worker
from demo.world import WORKERS_VARIABLE, worker_connection
from pypi_scan.fleet_file import open_fleet
from pypi_scan.results import read_statuses

pytestmark = pytest.mark.world

SHARDS = 8


def wait_for(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def scanned_on(home):
    """Return how many packages of each shard were scanned on the worker, by its own journals."""
    journals = home.glob("pypi-scan/scans/*/results/*/.work/journal.jsonl")
    return {path.parts[-3]: len(path.read_bytes().splitlines()) - 1 for path in journals}


def test_a_worker_joins_in_mid_scan_and_dies(live, tmp_path):
    live.run("pypi_sync")
    known = set(live.world.scans.glob("*/fleet.json"))
    with ssh_worker(tmp_path / "second") as second:
        live.airflow.add_connection("second", worker_connection(second))
        run_id = live.airflow.trigger("global_scan", {"shards": SHARDS, "package_timeout": 120, "publish": False})
        (fleet_file,) = wait_for(lambda: set(live.world.scans.glob("*/fleet.json")) - known)
        wait_for(lambda: '"scans":["pypi_worker"]' in fleet_file.read_text())
        live.airflow.set_variable(WORKERS_VARIABLE, "pypi_worker, second")

        def in_hand():
            with open_fleet(fleet_file.parent) as fleet:
                under_way = [name for name, shard in fleet.shards.items() if shard.worker == "second"]
                return {
                    name for name in under_way if scanned_on(second.home).get(name) and not fleet.shards[name].scanned
                }

        killed = wait_for(in_hand)
    with open_fleet(fleet_file.parent) as fleet:
        died_with = {name for name, shard in fleet.shards.items() if shard.worker == "second" and not shard.done}
    try:
        *_, tasks = live.airflow.follow("global_scan", run_id, 600)
    finally:
        live.airflow.set_variable(WORKERS_VARIABLE, "pypi_worker")

    assert {task["state"] for task in tasks if task["task_id"] not in ("estimate", "publish")} == {"success"}
    with open_fleet(fleet_file.parent) as fleet:
        assert {tuple(fleet.shards[name].scans) for name in killed} == {("second", "pypi_worker")}
        assert all(shard.done for shard in fleet.shards.values())
        collected_from = {name: shard.worker for name, shard in fleet.shards.items()}
    assert Counter(collected_from.values())["pypi_worker"] >= 1
    lost = {name for name, packages in scanned_on(second.home).items() if packages and collected_from[name] != "second"}
    assert killed <= lost <= died_with, "only what it had in hand was scanned twice"
    wanted = (fleet_file.parent / "input_packages.txt").read_text().splitlines()
    unscannable = (fleet_file.parent / "unscannable.jsonl").read_text().splitlines()
    had = [status.name for name in collected_from for status in read_statuses(fleet_file.parent / "results" / name)]
    assert sorted([*had, *(json.loads(line)["name"] for line in unscannable)]) == wanted
