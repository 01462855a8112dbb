"""Findings and packages in the scan monitor, of packages whose authors wrote for whoever looks at them."""

import pytest
from playwright.sync_api import expect

from .conftest import HOSTILE_FILE, HOSTILE_TEXT, monitor, picture

pytestmark = pytest.mark.world


def test_a_finding_is_opened_and_leads_to_its_package(scanned, page, theme, screenshots):
    frame = monitor(page)
    frame.get_by_role("link", name="Findings", exact=True).click()
    frame.locator("select[name=type]").select_option("LeakingSecret")
    frame.get_by_role("button", name="Show").click()
    rows = frame.locator("table.findings tbody tr")
    expect(rows.first).to_contain_text("LeakingSecret")
    picture(page, screenshots, "findings", theme)
    leaky = rows.get_by_role("link", name="demo-guestbook")
    leaky.first.click()
    expect(frame.locator("h1")).to_contain_text("demo-guestbook")
    expect(frame.locator("tr[aria-current] th")).to_have_text(scanned)
    picture(page, screenshots, "package", theme)


def test_markup_in_what_packages_hold_is_text(scanned, page):
    frame = monitor(page)
    frame.get_by_role("searchbox").first.fill("demo-text")
    frame.get_by_role("searchbox").first.press("Enter")
    expect(frame.locator("h1")).to_contain_text("demo-text")
    expect(frame.get_by_text(HOSTILE_FILE).first).to_be_visible()
    expect(frame.get_by_text(HOSTILE_TEXT).first).to_be_visible()
    assert frame.locator("main img, main script").count() == 0


def test_markup_that_is_searched_for_is_text(scanned, page):
    frame = monitor(page)
    frame.get_by_role("searchbox").first.fill(HOSTILE_TEXT)
    frame.get_by_role("searchbox").first.press("Enter")
    expect(frame.locator("main input[name=name]")).to_have_value(HOSTILE_TEXT)
    assert frame.locator("main script").count() == 0


def test_findings_are_exported(scanned, page):
    frame = monitor(page)
    frame.get_by_role("link", name="Findings", exact=True).click()
    with page.expect_download() as download:
        frame.get_by_role("link", name="Export as CSV").click()
    content = download.value.path().read_text(encoding="utf-8")
    assert "demo-guestbook" in content
