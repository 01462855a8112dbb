"""The form that starts a scan, as a person fills it in."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import picture

pytestmark = pytest.mark.world


def trigger_form(page: Page) -> Locator:
    """Open the form."""
    page.goto("/dags/global_scan")
    page.get_by_role("button", name="Trigger").first.click()
    return page.get_by_role("dialog")


def submit(form: Locator) -> str:
    """Trigger what the form says, and return the id of the run that Airflow then shows."""
    form.get_by_role("button", name="Trigger", exact=True).last.click()
    expect(form).to_be_hidden()
    expect(form.page).to_have_url(re.compile(r"/dags/global_scan/runs/[^/]+$"))
    return form.page.url.rsplit("/", 1)[1]


def test_a_scan_is_triggered_from_the_form(synced, live, page, theme, screenshots):
    form = trigger_form(page)
    form.get_by_role("button", name="What is scanned").click()
    form.locator("#element_packages").fill("demo-units\ndemo-t*")
    picture(page, screenshots, "trigger-form", theme, height=1150)
    run_id = submit(form)
    (run,) = [run for run in live.airflow.runs("global_scan") if run["dag_run_id"] == run_id]
    assert run["conf"]["packages"] == ["demo-units", "demo-t*"]
    *_, tasks = live.airflow.follow("global_scan", run_id, 600)
    assert "publish" in {task["task_id"] for task in tasks if task["state"] == "success"}


def test_a_dry_run_says_what_a_scan_would_take(synced, live, page, theme, screenshots):
    form = trigger_form(page)
    form.get_by_role("button", name="What becomes of it").click()
    form.locator("[id='switch:element_dry_run']").click()
    run_id = submit(form)
    *_, tasks = live.airflow.follow("global_scan", run_id, 600)
    assert [task["task_id"] for task in tasks if task["state"] == "success"] == ["estimate"]
    page.goto(f"/dags/global_scan/runs/{run_id}/tasks/estimate")
    expect(page.get_by_text("to be scanned").first).to_be_visible()
    expect(page.get_by_text("minutes of CPU time").first).to_be_visible()
    picture(page, screenshots, "dry-run", theme)
