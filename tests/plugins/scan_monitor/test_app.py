"""The frame of the scan monitor in Airflow's real API server."""

from types import SimpleNamespace

import pytest
from airflow.plugins_manager import get_operator_extra_links

from worker_jobs.job_operator import ScanOperator


@pytest.mark.parametrize("path", ["/", "/scans/2026-11-01", "/runs/global_scan/run"])
def test_pages_are_for_those_who_may_see_the_scans(browse, path):
    assert browse("viewer").get(f"/scan-monitor{path}").status_code in (200, 404)
    assert browse(None).get(f"/scan-monitor{path}").status_code == 403
    nobody = browse(logged_in=False).get(f"/scan-monitor{path}")
    assert nobody.status_code == 401
    assert 'href="/auth/login" target="_top"' in nobody.text


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/scans/x", "/static/scan_monitor.js"])
def test_every_answer_forbids_what_a_page_does_not_need(browse, path):
    answer = browse().get(f"/scan-monitor{path}")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'self'", "base-uri 'none'"} < set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_page_that_fails_says_so_and_nothing_more(api_server, browse, control_host, monkeypatch):
    monkeypatch.setattr("scan_monitor.overview_pages.mirror_facts", lambda settings: 1 / 0)
    browser = browse()
    browser._transport.raise_server_exceptions = False
    answer = browser.get("/scan-monitor/")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert "content-security-policy" in answer.headers


def test_settings_that_are_missing_are_named(browse, monkeypatch):
    monkeypatch.delenv("PYPI_SCAN_CDN_BUCKET")
    answer = browse().get("/scan-monitor/")
    assert answer.status_code == 503
    assert "PYPI_SCAN_CDN_BUCKET" in answer.text


def test_the_tasks_of_shards_link_to_their_shard(api_server):
    (link,) = [link for link in get_operator_extra_links() if link.name == "Scan monitor"]
    assert ScanOperator.__name__ in {operator.__name__ for operator in link.operators}
    task = SimpleNamespace(dag_id="global_scan", run_id="manual__2026-11-01T00:00:00+00:00", map_index=3)
    address = link.get_link(None, ti_key=task)
    assert address.endswith("/scan-monitor/runs/global_scan/manual__2026-11-01T00%3A00%3A00%2B00%3A00?map_index=3")
