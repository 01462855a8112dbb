"""The Atom feed, read by an XML parser and held against RFC 4287."""

import re
from xml.etree import ElementTree as ET

from pypi_scan.index.feed import render_feed
from pypi_scan.index.model import describe_scan
from pypi_scan.manifest import parse_manifest

from .published_scans import CHANGES, PUBLIC_URL, described, index_of, manifest, torrent

ATOM = {"": "http://www.w3.org/2005/Atom", "xhtml": "http://www.w3.org/1999/xhtml"}
RFC_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def links(element: ET.Element) -> dict[str, dict[str, str]]:
    found = [link.attrib for link in element.findall("link", ATOM)]
    assert len({link["rel"] for link in found}) == len(found)
    return {link["rel"]: link for link in found}


def test_the_feed_has_what_the_rfc_requires() -> None:
    feed = ET.fromstring(render_feed(index_of(described(), described("2026-10-01", partial=True))))
    entries = feed.findall("entry", ATOM)
    assert len(entries) == 2
    for element in (feed, *entries):
        for name in ("id", "title", "updated"):
            assert len(element.findall(name, ATOM)) == 1
            assert element.findtext(name, "", ATOM)
        assert re.fullmatch(RFC_3339, element.findtext("updated", "", ATOM))
    assert feed.findtext("author/name", "", ATOM)  # an entry without an author has that of the feed
    assert len({element.findtext("id", "", ATOM) for element in (feed, *entries)}) == 3
    assert feed.findtext("updated", "", ATOM) == "2026-11-01T00:00:00Z"
    assert links(feed)["self"]["href"] == f"{PUBLIC_URL}/pypi_datasets/index/feed.xml"
    assert links(feed)["alternate"]["href"] == f"{PUBLIC_URL}/pypi_datasets/index/datasets.html"
    titles = [entry.findtext("title", "", ATOM) for entry in entries]
    assert titles == ["Scan 2026-11-01", "Scan 2026-10-01 of some packages"]


def test_an_entry_has_the_counts_the_torrent_and_the_magnet_link() -> None:
    contents = {"dataset.torrent": torrent()}
    scan = describe_scan(parse_manifest(manifest(changes=CHANGES)), PUBLIC_URL, contents)
    (entry,) = ET.fromstring(render_feed(index_of(scan))).findall("entry", ATOM)
    assert entry.findtext("id", "", ATOM) == f"{PUBLIC_URL}/pypi_datasets/2026-11-01/"
    found = links(entry)
    assert found["alternate"]["href"] == f"{PUBLIC_URL}/pypi_datasets/index/datasets.html#2026-11-01"
    assert found["related"]["href"] == scan.magnet
    assert found["enclosure"] == {
        "rel": "enclosure",
        "href": f"{PUBLIC_URL}/pypi_datasets/2026-11-01/dataset.torrent",
        "type": "application/x-bittorrent",
        "length": str(len(torrent())),
    }
    content = entry.find("content", ATOM)
    assert content is not None
    assert content.attrib == {"type": "xhtml"}
    assert [child.tag for child in content] == ["{http://www.w3.org/1999/xhtml}div"]
    text = "".join(content.itertext())
    for words in ("1,040 packages", "1,035 have a record", "no_release 5", "Since 2026-10-01: 1,200 packages are new"):
        assert words in text


def test_a_scan_without_torrent_has_no_such_links() -> None:
    (entry,) = ET.fromstring(render_feed(index_of(described()))).findall("entry", ATOM)
    assert links(entry).keys() == {"alternate"}


def test_a_feed_without_entries_is_valid_too() -> None:
    feed = ET.fromstring(render_feed(index_of()))
    assert feed.findtext("updated", "", ATOM) == "1970-01-01T00:00:00Z"


def test_the_same_scans_give_the_same_bytes() -> None:
    scans = [described("2026-10-01"), described("2026-11-01", as_of="2026-11-01T00:00:00.5Z")]
    assert render_feed(index_of(*scans)) == render_feed(index_of(*reversed(scans)))
