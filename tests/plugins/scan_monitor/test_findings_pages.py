"""Findings and packages in Airflow's real API server, over scans that attackers have a say in."""

import csv
import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.pypi_scan.monitor.conftest import DIRECTORY, add_scan, detection  # noqa: F401 - a fixture

HOSTILE = [
    "</pre><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "javascript:alert(1)",
    "{{ 7 * 7 }} {% raw %}",
    "abc\u202egnp.exe\u200b\x07",
    '=HYPERLINK("https://evil.example","click")',
    "+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "x" * 100_000,
]


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [attributes["href"] or "" for tag, attributes in self.elements if tag == "a"]


@pytest.fixture
def scans(add_scan: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A control host with two scans: `bad` is hostile all over in the later one, `good` has many detections in it."""
    for name in ("MIRROR_ROOT", "STATE_DIR", "SCANS_DIR", "MIRROR_SOURCE", "CDN_BUCKET", "CDN_PUBLIC_URL"):
        monkeypatch.setenv(f"PYPI_SCAN_{name}", str(tmp_path / "scans"))
    monkeypatch.setenv("PYPI_SCAN_INSPECTOR_URL", "https://inspector.example")
    hostile = [
        detection(
            "bad",
            type=text[:200],
            message=text,
            line=text,
            tags=[text],
            signature=f"x#{number}",
            location=f"{DIRECTORY}/bad-1.1.tar.gz${text}",
        )
        for number, text in enumerate(HOSTILE)
    ]
    many = [detection("good", line_no=number, score=number % 7, severity="low") for number in range(250)]
    add_scan("2026-10-01", {"good": ("1.0", [detection("good")]), "bad": ("1.0", None)})
    add_scan("2026-11-01", {"good": ("1.1", many), "bad": ("1.1", hostile), "goodness": ("1.0", [])})
    return tmp_path / "scans"


def get(browser: Any, address: str, status: int = 200) -> Page:
    answer = browser.get(f"/scan-monitor{address}")
    assert answer.status_code == status, answer.text
    return Page(answer.text)


@pytest.mark.parametrize(
    "address", ["/findings?package=bad", "/packages/bad", "/packages/bad?scan=2026-11-01&type=%3Cscript%3E"]
)
def test_what_packages_say_is_shown_and_does_nothing(browse: Any, scans: Path, address: str) -> None:
    page = get(browse(), address)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [urlsplit(script["src"]).path for script in scripts] == ["/scan-monitor/static/scan_monitor.js"]
    assert "img" not in {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith(("on", "style"))]
    for link in page.links():
        assert link.startswith(("/", "https://inspector.example/project/")), link
    if "type" not in address:
        assert "<img src=x onerror=alert(1)>" in page.text
        assert "\u202e" not in page.text
        assert "{{ 7 * 7 }}" in page.text
    assert len(page.text) < 100_000


def test_findings_are_filtered_and_paged_by_links(browse: Any, scans: Path) -> None:
    browser = browse()
    found: list[str] = []
    address: str | None = "/scan-monitor/findings?severity=low&min_score=1&sort=score"
    expected = [number for number in range(250) if number % 7]
    while address:
        page = Page(browser.get(address).text)
        assert f"{len(expected)} detections" in page.text
        found += [link for link in page.links() if "#line." in link]
        address = next((attributes["href"] for _, attributes in page.elements if attributes.get("rel") == "next"), None)
    assert len(found) == len(expected)
    assert {int(link.rpartition(".")[2]) for link in found} == set(expected)
    source = f"https://inspector.example/project/good/1.1/{DIRECTORY}/good-1.0.tar.gz/good-1.0/setup.py#line.6"
    assert found[0] == source


def test_an_export_is_what_is_filtered(browse: Any, scans: Path) -> None:
    browser = browse()
    answer = browser.get("/scan-monitor/findings.jsonl?severity=low&min_score=6")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(row["line_no"] for row in rows) == [number for number in range(250) if number % 7 == 6]
    assert rows[0]["tags"] == ["code_execution"]
    assert answer.headers["content-disposition"] == 'attachment; filename="findings-2026-11-01.jsonl"'
    answer = browser.get("/scan-monitor/findings.csv?scan=2026-11-01&package=bad")
    table = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(table) == len(HOSTILE)
    for row in table:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@"))
    assert {"'+1", "javascript:alert(1)"} < {row["message"] for row in table}
    assert browser.get("/scan-monitor/findings.csv?type=nothing").text.count("\n") == 1


def test_a_package_over_its_scans(browse: Any, scans: Path) -> None:
    browser = browse()
    page = get(browser, "/packages/good")
    assert "Version 1.0, now 1.1" in page.text
    assert "250" in page.text
    assert "/scan-monitor/packages/good?scan=2026-10-01" in page.links()
    last = get(browser, "/packages/good?scan=2026-11-01&type=FunctionCall&page=3")
    assert len([link for link in last.links() if "#line." in link]) == 50
    earlier = get(browser, "/packages/good?scan=2026-10-01")
    assert "Changes since" not in earlier.text
    assert "exec(code)" in earlier.text
    assert "for a reason" in get(browser, "/packages/bad?scan=2026-10-01").text


def test_a_search_leads_to_the_package_or_to_those_that_begin_so(browse: Any, scans: Path) -> None:
    browser = browse()
    answer = browser.get("/scan-monitor/packages?name=GOOD")
    assert (answer.status_code, answer.headers["location"]) == (303, "/scan-monitor/packages/good")
    page = get(browser, "/packages?name=Go")
    assert [link.rpartition("/")[2] for link in page.links() if "/packages/" in link] == ["good", "goodness"]
    assert "no package whose name begins so" in get(browser, "/packages?name=%3Cscript%3E").text


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/findings?scan=2026-12-01", 404, "has no packed scan"),
        ("/findings?scan=../../etc", 404, "has no packed scan"),
        ("/findings.csv?scan=x", 404, "has no packed scan"),
        ("/findings?min_score=x", 422, "whole number"),
        ("/findings?sort=x", 422, "sort is one of"),
        ("/findings?row=1&key=x", 422, "begin with the first"),
        ("/packages/unknown", 404, "Search for the start of its name"),
        ("/packages/Good", 404, "Search for the start of its name"),
        ("/packages/good?scan=2026-12-01", 404, "was not asked for this package"),
    ],
)
def test_what_is_not_there_is_said(browse: Any, scans: Path, address: str, status: int, text: str) -> None:
    assert text in get(browse(), address, status).text


def test_a_host_without_a_scan_says_so(browse: Any, scans: Path) -> None:
    for path in scans.glob("*/dataset/manifest.json"):
        path.unlink()
    for address in ("/findings", "/packages?name=x"):
        assert "Trigger global_scan" in get(browse(), address, 404).text


def test_a_damaged_dataset_is_named(browse: Any, scans: Path) -> None:
    (scans / "2026-11-01/dataset/detections.parquet").write_bytes(b"x" * 1000)
    (scans / "2026-11-01/dataset/dataset.zst").write_bytes(b"x" * 100_000)
    browser = browse()
    assert "detections.parquet cannot be read" in get(browser, "/findings", 500).text
    assert "is damaged" in get(browser, "/packages/good", 500).text


@pytest.mark.parametrize("address", ["/findings", "/findings.csv", "/packages?name=good", "/packages/good"])
def test_pages_are_for_those_who_may_see_the_scans(browse: Any, scans: Path, address: str) -> None:
    assert browse(None).get(f"/scan-monitor{address}").status_code == 403
    assert browse(logged_in=False).get(f"/scan-monitor{address}").status_code == 401
