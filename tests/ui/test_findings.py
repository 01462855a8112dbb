"""Findings and packages in the scan monitor, of packages whose authors wrote for whoever looks at them."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from .conftest import HOSTILE_FILE, HOSTILE_TEXT, monitor, picture

pytestmark = pytest.mark.world
HOSTILE_NAME = "<img src=x onerror=alert(1)>"


def test_a_finding_is_opened_and_leads_to_its_package(scanned, page, theme, screenshots):
    frame = monitor(page)
    frame.get_by_role("link", name="Findings", exact=True).click()
    rows = frame.locator("table.findings tbody tr")
    expect(rows.first).to_be_visible()
    picture(page, screenshots, "findings", theme)
    frame.locator("select[name=type]").select_option("LeakingSecret")
    frame.get_by_role("button", name="Show").click()
    expect(rows.first).to_contain_text("app.secret_key")
    rows.get_by_role("link", name="demo-guestbook").first.click()
    expect(frame.locator("h1")).to_contain_text("demo-guestbook")
    expect(frame.locator("tr[aria-current] th")).to_have_text(scanned)
    source = frame.locator("table.findings tr", has_text="app.secret_key").get_by_role("link").first
    expect(source).to_have_attribute("href", re.compile(r"^https://inspector\.pypi\.io/project/demo-guestbook/.+\.py"))


def test_markup_in_what_packages_hold_is_text(scanned, page, theme, screenshots):
    frame = monitor(page)
    frame.get_by_role("searchbox").first.fill("demo-text")
    frame.get_by_role("searchbox").first.press("Enter")
    expect(frame.locator("h1")).to_contain_text("demo-text 7.0")
    expect(frame.get_by_text(HOSTILE_FILE).first).to_be_visible()
    expect(frame.get_by_text(HOSTILE_TEXT).first).to_be_visible()
    expect(frame.locator(".changes")).to_contain_text("eval/exec usage found")
    assert frame.locator("main img, main script").count() == 0
    picture(page, screenshots, "package", theme)


def test_packages_are_found_by_the_start_of_their_names(scanned, page, theme, screenshots):
    frame = monitor(page)
    frame.get_by_role("searchbox").first.fill("demo-t")
    frame.get_by_role("searchbox").first.press("Enter")
    expect(frame.get_by_role("link", name="demo-text", exact=True)).to_be_visible()
    expect(frame.get_by_role("link", name="demo-guestbook", exact=True)).to_have_count(0)
    picture(page, screenshots, "packages", theme)


def test_markup_that_is_searched_for_is_text(scanned, page):
    frame = monitor(page)
    frame.get_by_role("searchbox").first.fill(HOSTILE_TEXT)
    frame.get_by_role("searchbox").first.press("Enter")
    expect(frame.locator("main input[name=name]")).to_have_value(HOSTILE_TEXT)
    assert frame.locator("main script").count() == 0


def test_markup_in_the_name_of_a_package_is_text(scanned, page):
    frame = monitor(page, f"/packages/{quote(HOSTILE_NAME, safe='')}")
    expect(frame.locator("main")).to_contain_text(f"called {HOSTILE_NAME}")
    assert frame.locator("main img").count() == 0


def test_findings_are_exported(scanned, page):
    frame = monitor(page)
    frame.get_by_role("link", name="Findings", exact=True).click()
    with page.expect_download() as download:
        frame.get_by_role("link", name="Export as CSV").click()
    content = download.value.path().read_text(encoding="utf-8")
    assert "demo-guestbook" in content
