"""``feed.xml``: an Atom feed (RFC 4287) with an entry a scan.

The ids are URLs of directories that never change. A scan counts as updated at its `as_of`: the same scans give the same
feed, whenever it is written.
"""

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from pypi_scan.index.model import Index, IndexedScan
from pypi_scan.torrent import TORRENT

_ATOM = "http://www.w3.org/2005/Atom"
_XHTML = "http://www.w3.org/1999/xhtml"
_BEFORE_ANY_SCAN = datetime(1970, 1, 1, tzinfo=UTC)  # the format wants a time also of a feed without entries


def render_feed(index: Index) -> bytes:
    """Return the feed, newest scan first."""
    feed = ET.Element("feed", {"xmlns": _ATOM, "xml:lang": "en"})
    _add(feed, "id", f"{index.url}feed.xml")
    _add(feed, "title", "Global PyPI Scan")
    _add(feed, "subtitle", "Scans of every package on PyPI with Aura, as open datasets")
    _add(feed, "updated", _time(index.scans[0].as_of if index.scans else _BEFORE_ANY_SCAN))
    _add(ET.SubElement(feed, "author"), "name", "Global PyPI Scan")
    _add(feed, "rights", "CC BY-NC 4.0, https://creativecommons.org/licenses/by-nc/4.0/")
    _link(feed, "self", f"{index.url}feed.xml", type="application/atom+xml")
    _link(feed, "alternate", f"{index.url}datasets.html", type="text/html")
    for scan in index.scans:
        _add_entry(feed, scan, index.url)
    ET.indent(feed)
    content: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _add_entry(feed: ET.Element, scan: IndexedScan, index_url: str) -> None:
    entry = ET.SubElement(feed, "entry")
    _add(entry, "id", scan.url)
    _add(entry, "title", f"Scan {scan.scan_id}{' of some packages' if scan.partial else ''}")
    _add(entry, "updated", _time(scan.as_of))
    _link(entry, "alternate", f"{index_url}datasets.html#{scan.scan_id}", type="text/html")
    if torrent := scan.file(TORRENT):
        _link(entry, "enclosure", torrent.url, type="application/x-bittorrent", length=str(torrent.size))
    if scan.magnet:
        _link(entry, "related", scan.magnet, title="magnet link")
    content = ET.SubElement(entry, "content", type="xhtml")
    text = ET.SubElement(content, "div", xmlns=_XHTML)
    for sentence in _sentences(scan):
        _add(text, "p", sentence)


def _sentences(scan: IndexedScan) -> list[str]:
    statuses = ", ".join(f"{status} {count:,}" for status, count in scan.by_status.items())
    sentences = [
        f"{scan.packages:,} packages were asked for, {scan.scanned:,} have a record ({statuses}).",
        f"{len(scan.files)} files of {scan.size:,} bytes.",
    ]
    if changes := scan.changes:
        sentences.append(
            f"Since {changes.since}: {changes.new:,} packages are new, {changes.gone:,} are gone, {changes.version:,} "
            f"have another version, {changes.detections:,} have other detections."
        )
    return sentences


def _add(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text


def _link(parent: ET.Element, rel: str, href: str, **attributes: str) -> None:
    ET.SubElement(parent, "link", {"rel": rel, "href": href, **attributes})


def _time(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
