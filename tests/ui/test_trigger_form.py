"""The form that starts a scan, as a person fills it in."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.world


@pytest.fixture
def form(page: Page):
    page.goto("/dags/global_scan")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="What is scanned").click()
    expect(dialog.locator("#element_packages")).to_be_visible()
    return dialog


def test_a_scan_is_triggered_from_the_form(synced, live, form):
    before = {run["dag_run_id"] for run in live.airflow.runs("global_scan")}
    form.locator("#element_packages").fill("demo-units\ndemo-t*")
    form.page.get_by_role("button", name="Trigger", exact=True).last.click()
    expect(form).to_be_hidden()
    (run,) = [run for run in live.airflow.runs("global_scan") if run["dag_run_id"] not in before]
    assert run["conf"]["packages"] == ["demo-units", "demo-t*"]
    *_, tasks = live.airflow.follow("global_scan", run["dag_run_id"], 600)
    assert "publish" in {task["task_id"] for task in tasks if task["state"] == "success"}
