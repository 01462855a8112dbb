"""The page of a scan, asked of Airflow's real API server, of small scans as the control host has them on disk."""

import json
import shutil
import time

import pytest

from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import open_fleet
from pypi_scan.scan_progress import ShardProgress, write_progress

HOSTILE = "<script>alert('1')</script>\"onload=\u202e&" + "A" * 200
ESCAPED = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&#34;onload=\\u202e&amp;AAAA"


@pytest.fixture
def running(control_host, make_scan, airflow_run):
    """A scan of two shards, of which the first is collected, with a failure, and the second half done."""
    scan = make_scan({f"p{number}": None for number in range(8)}, shards=2)
    first, second = scan.division.shard_ids
    now = time.time()
    with open_fleet(scan.directory) as fleet:
        fleet.places = 2
        fleet.admit("worker_1", Capacity(2))
        fleet.set_shards({shard.id: shard.cost for shard in scan.division.shards})
        fleet.claim(first, now - 300)
        fleet.claim(second, now - 300)
        fleet.started(first, now - 300)
        fleet.scanned(first, now - 200)
        fleet.started(second, now - 100)
        fleet.leave_out("worker_2", f"it said {HOSTILE}")
    write_progress(scan.directory, first, ShardProgress("scan", "worker_1", 4, 0, 4, 0.5, now - 200))
    write_progress(scan.directory, second, ShardProgress("scan", "worker_1", 2, 1, 4, 0.25, now))
    results = scan.results(first)
    results.fail(results.statuses[0]["name"], "crash")
    results.statuses[0]["reason"] = f"ValueError: {HOSTILE}"
    results.accept()
    alert = {"at": "", "alert": "task_failed", "about": "global_scan run shards.scan [1]", "text": f"said {HOSTILE}"}
    (control_host / "state" / "alerts.jsonl").write_text(json.dumps(alert) + "\n")
    states = {("plan", -1): "success", ("shards.scan", 0): "success", ("shards.scan", 1): "deferred"}
    airflow_run("run", "running", states)
    return scan


def page_of(browser, scan, query=""):
    answer = browser.get(f"/scan-monitor/scans/{scan.plan.scan_id}{query}")
    assert answer.status_code == 200
    return answer.text


def test_a_running_scan_tells_how_far_it_is_and_is_fetched_again(browse, running):
    page = page_of(browse(), running)
    assert "<b>75.0 %</b> 6 of 8 packages" in page
    assert 'data-refresh="5"' in page
    assert page.index('id="shard-1"') < page.index('id="shard-0"')  # the one that is under way comes first


def test_each_task_of_a_shard_has_a_button_that_leads_out_of_the_frame(browse, running):
    page = page_of(browse(), running)
    assert '<a class="step deferred" href="/dags/global_scan/runs/run/tasks/shards.scan/mapped/1" target="_top"' in page


def test_a_scan_that_is_over_is_not_fetched_again(browse, running, airflow_run):
    airflow_run("run", "success", {("publish", -1): "success"})
    page = page_of(browse(), running)
    assert "data-refresh" not in page
    assert f'href="https://cdn.example/pypi_datasets/index/datasets.html#{running.plan.scan_id}"' in page


def test_what_workers_say_stays_text(browse, running):
    page = page_of(browse(), running)
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert [word for word in ("it said", "ValueError:", "said") if f"{word} {ESCAPED}" not in page] == []


def test_nothing_is_styled_or_run_in_the_page_itself(browse, running):
    browser = browse()
    for page in (page_of(browser, running), browser.get("/scan-monitor/").text):
        assert " style=" not in page
        assert "<style" not in page
        assert page.count("<script") == page.count('<script src="/scan-monitor/static/scan_monitor.js">') == 1


@pytest.mark.parametrize("path", ["2026-01-01", "%2e%2e%2fstate", "notes", "x" * 300])
def test_what_is_no_scan_is_not_found(browse, running, path):
    shutil.copytree(running.directory, running.directory.with_name("notes"))
    assert browse().get(f"/scan-monitor/scans/{path}").status_code == 404


def test_a_number_that_is_none_is_refused_as_a_page(browse, running):
    answer = browse().get(f"/scan-monitor/scans/{running.plan.scan_id}?page=<script>")
    assert answer.status_code == 422
    assert "<script>" not in answer.text
    assert "Not understood" in answer.text


def test_a_run_and_its_tasks_lead_to_the_scan(browse, running):
    answer = browse().get("/scan-monitor/runs/global_scan/run?map_index=1")
    assert answer.status_code == 303
    where = f"/scan-monitor/scans/{running.plan.scan_id}?shard=1#shard-1"
    assert answer.headers["location"] == where
    assert '<tr id="shard-1" class="marked">' in browse().get(where).text


def test_runs_without_a_scan_say_why(browse, control_host, airflow_run):
    airflow_run("new", "queued", {})
    airflow_run("old", "failed", {})
    assert "not planned yet" in browse().get("/scan-monitor/runs/global_scan/new").text
    assert "no plan of it" in browse().get("/scan-monitor/runs/global_scan/old").text
    assert "none of them" in browse().get("/scan-monitor/runs/pypi_sync/scheduled").text
