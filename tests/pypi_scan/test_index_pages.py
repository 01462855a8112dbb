"""The index for people: its pages, README and card."""

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

import yaml

from pypi_scan.index.model import SmallDataset, describe_scan, make_index
from pypi_scan.index.pages import render_card, render_html, render_readme, render_redirect
from pypi_scan.manifest import parse_manifest

from .published_scans import CHANGES, PUBLIC_URL, described, index_of, manifest, torrent

HOSTILE = '"><script>alert(1)</script>&'
VOID = {"meta", "link", "br", "img", "input", "hr"}
PARQUET = [
    {"name": name, "size": 1, "sha256": "a" * 64, "md5": ""} for name in ("packages.parquet", "detections.parquet")
]


class Page(HTMLParser):
    """Tags, links, ids, meta tags and text of a page; fails where tags are not nested."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.meta: dict[str, str] = {}
        self.style = ""
        self.text = ""
        self._open: list[str] = []
        self.feed(content.decode())
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        values = {name: value or "" for name, value in attrs}
        self.links += [value for name, value in values.items() if name in ("href", "src")]
        self.ids += [values["id"]] if "id" in values else []
        assert not [name for name in values if name.startswith("on") or name == "style"]
        if tag == "meta":
            self.meta[values.get("http-equiv") or values.get("name") or "charset"] = values.get("content", "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += " " + " ".join(data.split())


def test_the_page_tells_everything_about_a_scan() -> None:
    contents = {
        "manifest.json": b"",
        "manifest.json.minisig": b"",
        "dataset.torrent": torrent(),
        "checksums.sha256.txt": b"",
        "checksums.md5.txt": b"",
    }
    files = [
        {"name": name, "size": size, "sha256": digit * 64, "md5": ""}
        for name, size, digit in (
            ("dataset.zst", 2_000_000, "a"),
            ("packages.parquet", 1000, "b"),
            ("changes.html", 9, "c"),
        )
    ]
    scan = describe_scan(parse_manifest(manifest(changes=CHANGES, files=files)), PUBLIC_URL, contents)
    page = Page(render_html(index_of(scan, described("2026-10-01"))))
    for text in (
        "2026-11-01 00:00 UTC, mirror serial 123",
        "1,040 asked for, 1,035 with a record",
        "crash 1, no_release 5, ok 1,034",
        "1,200 new, 3 gone, 40 with another version, 5 with other detections since",
        "aura-security 2.1, Python 3.11.7",
        "1.9 MiB in 8 files",
        *(digit * 64 for digit in "abc"),
    ):
        assert text in page.text
    assert {f"../2026-11-01/{name}" for name in ("dataset.zst", "packages.parquet", "changes.html", *contents)} <= set(
        page.links
    )
    assert scan.magnet in page.links
    assert "#2026-10-01" in page.links
    assert "since 2026-10-01 ; which ones" in page.text
    assert page.links.count("../2026-11-01/changes.html") == 2  # there, and among the files


def test_the_page_shows_the_key_and_how_to_use_it() -> None:
    page = Page(render_html(make_index(PUBLIC_URL, [described()], public_key="RWkey")))
    assert "minisign -V -m manifest.json -P RWkey" in page.text
    assert "minisign.pub" in page.links
    without = Page(render_html(index_of(described())))
    assert "minisign" not in without.text
    assert "minisign.pub" not in without.links


def test_what_a_scan_was_published_without_is_not_shown() -> None:
    page = Page(render_html(index_of(described())))
    for text in ("BitTorrent", "signature", "Changes"):
        assert text not in page.text
    assert not [link for link in page.links if link.startswith("magnet")]


def test_a_partial_scan_is_marked_and_no_latest_is_promised() -> None:
    index = index_of(described(partial=True))
    page = Page(render_html(index))
    assert "partial: some packages only" in page.text
    assert "newest" not in page.text
    assert not {"../latest/index.html", "dataset_card.md", "croissant.json"} & set(page.links)
    assert b"latest/         " not in render_readme(index)
    assert b"some of PyPI only" in render_readme(index)
    assert "newest" in Page(render_html(index_of(described()))).text


def test_small_datasets_are_linked_with_their_size() -> None:
    small = SmallDataset(
        "aura_dataset.tgz", 2_000_000, f"{PUBLIC_URL}/aura/aura_dataset.tgz", "what aura update fetches"
    )
    index = make_index(PUBLIC_URL, [], [small])
    page = Page(render_html(index))
    assert "../../aura/aura_dataset.tgz" in page.links
    assert "1.9 MiB" in page.text
    assert b"aura_dataset.tgz" in render_readme(index)


def test_an_empty_index_says_so() -> None:
    assert "No scan has been published yet." in Page(render_html(index_of())).text


def test_the_page_runs_and_loads_nothing_and_forbids_it() -> None:
    page = Page(render_html(index_of(described())))
    assert {"script", "img", "iframe", "object", "form"}.isdisjoint(page.tags)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert page.meta["Content-Security-Policy"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_the_page_can_be_navigated_without_seeing_it() -> None:
    content = render_html(index_of(described(), described("2026-10-01")))
    page = Page(content)
    headings = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert page.tags.count("table") == page.tags.count("caption") > 0
    assert b'<html lang="en">' in content
    assert page.tags.count("main") == 1
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_colours_have_contrast_in_light_and_dark() -> None:
    style = Page(render_html(index_of())).style
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", rule)) for rule in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    )
    for colours in (light, dark):
        for ink in ("text", "muted", "link"):
            for ground in ("ground", "panel"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)  # WCAG 2.2, level AA


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_hostile_words_stay_text() -> None:
    scanner = {"scanner": HOSTILE, "version": HOSTILE, "python": HOSTILE, "settings": {}}
    index = index_of(described(scanner=scanner))
    content = render_html(index)
    assert b"<script" not in content
    assert content.count(b"&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;") == 3
    assert b"script" not in render_card(index.scans[0])
    assert b"script" not in render_readme(index)


def test_the_same_scans_give_the_same_bytes() -> None:
    scans = [described("2026-10-01"), described("2026-11-01")]
    for render in (render_html, render_readme):
        assert render(index_of(*scans)) == render(index_of(*reversed(scans)))


def test_the_card_says_what_hubs_want_to_know() -> None:
    _, front_matter, text = render_card(described(files=PARQUET)).decode().split("---\n", 2)
    assert yaml.safe_load(front_matter) == {
        "license": "cc-by-nc-4.0",
        "pretty_name": "Global PyPI Scan",
        "tags": ["pypi", "python", "security", "malware", "supply-chain", "static-analysis"],
        "size_categories": ["1K<n<10K"],
        "configs": [
            {"config_name": "packages", "data_files": "packages.parquet", "default": True},
            {"config_name": "detections", "data_files": "detections.parquet"},
        ],
    }
    assert "| `frame_offset` | integer |" in text
    assert "| `tags` | list of text |" in text
    assert f"[manifest.json]({PUBLIC_URL}/pypi_datasets/2026-11-01/manifest.json)" in text


def test_the_card_of_a_scan_without_tables_has_no_configs() -> None:
    _, front_matter, text = render_card(described()).decode().split("---\n", 2)
    assert "configs" not in yaml.safe_load(front_matter)
    assert ".parquet" not in text.partition("## Files")[2]


def test_the_redirect_leads_to_the_scans_entry() -> None:
    index = index_of(described())
    page = Page(render_redirect(index.scans[0], index))
    assert page.meta["refresh"] == "0; url=../index/datasets.html#2026-11-01"
    assert page.links == [f"{PUBLIC_URL}/pypi_datasets/index/datasets.html", "../index/datasets.html#2026-11-01"]
    assert "2026-11-01" in Page(render_html(index)).ids
