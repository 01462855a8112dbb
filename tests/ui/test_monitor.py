"""The scan monitor in Airflow's UI, as a person looks at it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.live_world import Live

from .conftest import monitor, picture

pytestmark = pytest.mark.world


def test_the_monitor_moves_while_a_scan_runs(scanned: str, live: Live, page: Page, theme: str, screenshots: Path):
    run_id = live.airflow.trigger("global_scan", {"shards": 4, "mode": "full", "publish": False})
    page.goto(f"/dags/global_scan/runs/{run_id}")
    page.get_by_role("link", name="Scan monitor").click()
    frame = page.frame_locator("iframe")
    shards = frame.locator("table.shards tbody tr")
    expect(shards).to_have_count(4)
    expect(frame.locator("h1 .state")).to_have_text("running")
    expect(shards.locator("td .state.collected").first).to_be_visible(timeout=120_000)
    picture(page, screenshots, "scan-running", theme)
    expect(frame.locator("h1 .state")).to_have_text("success")
    expect(shards.locator("td .state.collected")).to_have_count(4)


def test_the_overview_shows_the_mirror_the_datasets_and_the_scans(scanned, live, page, theme, screenshots):
    frame = monitor(page)
    row = frame.locator("tr", has=frame.get_by_role("link", name=scanned, exact=True))
    expect(row).to_contain_text("success")
    expect(row).to_contain_text("published")
    expect(frame.get_by_role("link", name="aura_dataset.tgz")).to_have_attribute(
        "href", f"{live.world.store.public_url}/aura/aura_dataset.tgz"
    )
    background = frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    red, green, blue = map(float, background.removeprefix("rgb(").removesuffix(")").split(","))
    assert (red + green + blue < 3 * 128) == (theme == "dark")
    picture(page, screenshots, "overview", theme)


def test_the_scan_leads_to_the_task_of_a_shard(scanned, page, theme, screenshots):
    frame = monitor(page)
    frame.get_by_role("link", name=scanned, exact=True).click()
    expect(frame.locator("h1")).to_contain_text(f"Scan {scanned}")
    expect(frame.locator("details summary .state.corrupt")).to_be_visible()
    picture(page, screenshots, "scan", theme)
    frame.locator("table.shards tbody tr").first.get_by_role("link", name="scan", exact=True).click()
    expect(page).to_have_url(re.compile(r"/tasks/shards\.scan/mapped/0"))


def test_who_is_not_logged_in_sees_nothing(browser, live, scanned):
    with browser.new_context(base_url=live.url) as stranger:
        answer = stranger.request.get("/scan-monitor/", max_redirects=0)
        assert answer.status in {302, 401, 403, 307}
        assert scanned not in answer.text()
