"""The frame of the scan monitor in Airflow's real API server."""

import pytest


def test_pages_are_for_those_who_may_see_the_scans(browse):
    assert browse("viewer").get("/scan-monitor/").status_code == 200
    assert browse(None).get("/scan-monitor/").status_code == 403
    nobody = browse(logged_in=False).get("/scan-monitor/")
    assert nobody.status_code == 401
    assert 'href="/auth/login"' in nobody.text


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/static/scan_monitor.js"])
def test_every_answer_forbids_what_a_page_does_not_need(browse, path):
    answer = browse().get(f"/scan-monitor{path}")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'self'"} < set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
