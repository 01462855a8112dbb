"""The index of published scans, from manifests in a real object store to the page."""

import hashlib
import json
from html.parser import HTMLParser
from typing import Any

import pytest

from pypi_scan.index import (
    Index,
    ManifestError,
    add_scan,
    load_index,
    parse_manifest,
    published_scan_ids,
    render_html,
    render_json,
    write_index,
)
from pypi_scan.publish import Cdn, publish_bytes
from pypi_scan.torrent import PieceHasher, TorrentError, magnet_link, make_torrent

PUBLIC_URL = "https://cdn.example"
HOSTILE = '"><script>alert(1)</script>&.zst'


def manifest(scan_id: str = "2026-11-01", **changes: Any) -> bytes:
    document = {
        "scan_id": scan_id,
        "as_of": f"{scan_id[:10]}T00:00:00Z",
        "mirror_serial": 123,
        "scanner": {"scanner": "aura-security", "version": "2.1", "python": "3.11.7", "settings": {"seconds": 60}},
        "versions": {"global-pypi-scan": "0.1.0"},
        "counts": {"input": 1040, "records": 1035, "by_status": {"ok": 1034, "no_release": 5, "crash": 1}},
        "files": [
            {"name": "dataset.zst", "size": 2_000_000, "sha256": "a" * 64, "md5": "b" * 32},
            {"name": "joblog.txt", "size": 500, "sha256": "c" * 64, "md5": "d" * 32},
        ],
    }
    return json.dumps(document | changes).encode()


def torrent(name: str = "2026-11-01") -> bytes:
    pieces = PieceHasher(1 << 16)
    pieces.update(b"content")
    return make_torrent(name, [("dataset.zst", 6), ("joblog.txt", 1)], pieces, f"{PUBLIC_URL}/pypi_datasets/")


def index_of(*manifests: bytes) -> Index:
    index = Index()
    for content in manifests:
        index = add_scan(index, parse_manifest(content), PUBLIC_URL)
    return index


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_json_says_what_a_program_needs() -> None:
    assert json.loads(render_json(index_of(manifest()))) == {
        "scans": [
            {
                "scan_id": "2026-11-01",
                "as_of": "2026-11-01T00:00:00Z",
                "packages": 1040,
                "scanned": 1035,
                "by_status": {"crash": 1, "no_release": 5, "ok": 1034},
                "size": 2_000_500,
                "url": "https://cdn.example/pypi_datasets/2026-11-01/",
                "mirror_serial": 123,
                "scanner": {"name": "aura-security", "version": "2.1", "python": "3.11.7"},
                "magnet": None,
                "files": [
                    {
                        "name": "dataset.zst",
                        "size": 2_000_000,
                        "sha256": "a" * 64,
                        "url": "https://cdn.example/pypi_datasets/2026-11-01/dataset.zst",
                    },
                    {
                        "name": "joblog.txt",
                        "size": 500,
                        "sha256": "c" * 64,
                        "url": "https://cdn.example/pypi_datasets/2026-11-01/joblog.txt",
                    },
                ],
            }
        ]
    }


def test_a_torrent_is_one_of_the_files_and_gives_the_magnet_link() -> None:
    index = add_scan(Index(), parse_manifest(manifest()), PUBLIC_URL, torrent())
    (scan,) = json.loads(render_json(index))["scans"]
    assert scan["magnet"] == magnet_link(torrent(), "2026-11-01")
    assert scan["files"][-1] == {
        "name": "dataset.torrent",
        "size": len(torrent()),
        "sha256": hashlib.sha256(torrent()).hexdigest(),
        "url": "https://cdn.example/pypi_datasets/2026-11-01/dataset.torrent",
    }
    assert scan["size"] == 2_000_500 + len(torrent())
    links = Page(render_html(index)).links
    assert {scan["magnet"], "../2026-11-01/dataset.torrent"} <= set(links)


def test_newest_first_whatever_the_order_of_arrival() -> None:
    manifests = [
        manifest("2026-10-01"),
        manifest("2026-11-01-2"),
        manifest("2026-11-01"),
        manifest("2026-12-01", as_of="2026-12-01T01:30:00+02:00"),
    ]
    index = index_of(*manifests)
    assert [scan.scan_id for scan in index.scans] == ["2026-12-01", "2026-11-01-2", "2026-11-01", "2026-10-01"]
    assert b'"as_of": "2026-11-30T23:30:00Z"' in render_json(index)
    again = index_of(*reversed(manifests))
    assert (render_json(again), render_html(again)) == (render_json(index), render_html(index))


def test_a_scan_replaces_its_own_entry_only() -> None:
    index = index_of(manifest("2026-10-01"), manifest("2026-11-01"))
    assert add_scan(index, parse_manifest(manifest("2026-11-01")), PUBLIC_URL) == index
    changed = add_scan(index, parse_manifest(manifest("2026-11-01", mirror_serial=124)), PUBLIC_URL)
    assert [scan.mirror_serial for scan in changed.scans] == [124, 123]


def test_page_links_every_file_and_loads_nothing() -> None:
    page = Page(render_html(index_of(manifest())))
    assert page.links == [
        "datasets.json",
        "../2026-11-01/dataset.zst",
        "../2026-11-01/joblog.txt",
        "../2026-11-01/manifest.json",
    ]
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    for text in ("1,035 scanned of 1,040", "crash 1, no_release 5, ok 1,034", "1.9 MiB", "aura-security 2.1, Python"):
        assert text in page.text


def test_an_empty_index_says_so() -> None:
    assert "No scan has been published yet." in Page(render_html(Index())).text
    assert json.loads(render_json(Index())) == {"scans": []}


def test_hostile_names_stay_text() -> None:
    scanner = {"scanner": HOSTILE, "version": HOSTILE, "python": HOSTILE, "settings": {}}
    files = [{"name": HOSTILE.replace("/", ""), "size": 1, "sha256": "a" * 64, "md5": ""}]
    counts = {"input": 1, "records": 1, "by_status": {HOSTILE: 1}}
    content = render_html(index_of(manifest(scanner=scanner, files=files, counts=counts)))
    assert b"<script" not in content
    page = Page(content)
    assert page.text.count(HOSTILE) == 4
    assert page.links[1] == "../2026-11-01/%22%3E%3Cscript%3Ealert%281%29%3Cscript%3E%26.zst"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scan_id": "../aura"}, "not a scan id"),
        ({"scan_id": "index"}, "not a scan id"),
        ({"scan_id": "2026-11-01\n"}, "not a scan id"),
        ({"as_of": "2026-11-01T00:00:00"}, "as_of is not a time with UTC offset"),
        ({"as_of": "yesterday"}, "as_of is not a time with UTC offset"),
        ({"as_of": "0001-01-01T00:00:00+23:00"}, "as_of is not a time with UTC offset"),
        ({"mirror_serial": -1}, "negative"),
        ({"mirror_serial": "123"}, r"Expected `int`.*mirror_serial"),
        ({"counts": {"input": 1, "records": 0}}, "missing required field `by_status`"),
        ({"files": [{"name": "../x", "size": 1, "sha256": "a" * 64, "md5": ""}]}, "not a file name"),
        ({"files": [{"name": "..", "size": 1, "sha256": "a" * 64, "md5": ""}]}, "not a file name"),
        ({"files": [{"name": "x", "size": -1, "sha256": "a" * 64, "md5": ""}]}, "negative"),
        ({"files": [{"name": "x", "size": 1, "sha256": "A", "md5": ""}]}, "not a sha256"),
    ],
)
def test_a_bad_manifest_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(manifest(**({"scan_id": "2026-11-01"} | changes)))


def test_index_lists_the_scans_on_the_cdn(cdn: Cdn) -> None:
    assert load_index(cdn) == Index()
    for scan_id in ("2026-10-01", "2026-11-01"):
        publish_bytes(cdn, f"pypi_datasets/{scan_id}/manifest.json", manifest(scan_id))
    publish_bytes(cdn, "pypi_datasets/2026-11-01/dataset.torrent", torrent())
    publish_bytes(cdn, "pypi_datasets/2026-12-01/dataset.zst", b"its manifest is still to come")
    publish_bytes(cdn, "aura/md5_checksums.txt", b"no scan")
    index = load_index(cdn)
    without_torrent = index_of(manifest("2026-10-01"))
    assert index == add_scan(without_torrent, parse_manifest(manifest("2026-11-01")), PUBLIC_URL, torrent())
    write_index(cdn, index)
    assert load_index(cdn) == index, "the index itself is no scan"
    assert published_scan_ids(cdn) == ["2026-10-01", "2026-11-01", "2026-12-01"]
    for name, kind, content in (
        ("datasets.json", "application/json", render_json(index)),
        ("datasets.html", "text/html; charset=utf-8", render_html(index)),
    ):
        stored = cdn.client.get_object(Bucket=cdn.bucket, Key=f"pypi_datasets/index/{name}")
        assert (stored["ContentType"], stored["CacheControl"]) == (kind, "public, max-age=300")
        assert stored["Body"].read() == content


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not a manifest of a scan"), (manifest("2026-10-01"), "belongs to another scan")]
)
def test_a_bad_manifest_on_the_cdn_is_named(cdn: Cdn, content: bytes, message: str) -> None:
    publish_bytes(cdn, "pypi_datasets/2026-11-01/manifest.json", content)
    with pytest.raises(ManifestError, match=f"{PUBLIC_URL}/pypi_datasets/2026-11-01/manifest.json: {message}"):
        load_index(cdn)


@pytest.mark.parametrize(
    ("content", "message"), [(b"d", "not a torrent"), (torrent("2026-10-01"), "is a torrent of something else")]
)
def test_a_bad_torrent_on_the_cdn_is_named(cdn: Cdn, content: bytes, message: str) -> None:
    publish_bytes(cdn, "pypi_datasets/2026-11-01/manifest.json", manifest())
    publish_bytes(cdn, "pypi_datasets/2026-11-01/dataset.torrent", content)
    with pytest.raises(TorrentError, match=f"{PUBLIC_URL}/pypi_datasets/2026-11-01/dataset.torrent: {message}"):
        load_index(cdn)
