"""The index, onto the CDN."""

from pypi_scan.index.croissant import render_croissant
from pypi_scan.index.feed import render_feed
from pypi_scan.index.latest import LATEST_FILES, read_latest_files
from pypi_scan.index.load import LATEST_NAME
from pypi_scan.index.model import INDEX_NAME, Index, render_json
from pypi_scan.index.objects import delete_object
from pypi_scan.index.pages import render_card, render_html, render_readme, render_redirect
from pypi_scan.manifest import SCANS_PREFIX
from pypi_scan.publish import Cdn, publish_bytes

_INDEX = f"{SCANS_PREFIX}/{INDEX_NAME}"
_LATEST = f"{SCANS_PREFIX}/{LATEST_NAME}"


def write_index(cdn: Cdn, index: Index) -> None:
    """Publish every form of the index, and the copies of the newest full scan; raises PublishError.

    What is pointed at goes before what points at it: first the descriptions and copies, then the page that links all of
    them, then the feed and the redirect, which lead to the page.
    """
    latest = index.latest_scan()
    if latest:
        copies = read_latest_files(cdn, latest)
        publish_bytes(cdn, f"{_INDEX}/croissant.json", render_croissant(latest, index.url))
        publish_bytes(cdn, f"{_INDEX}/dataset_card.md", render_card(latest))
        for name in LATEST_FILES:
            if name in copies:
                publish_bytes(cdn, f"{_LATEST}/{name}", copies[name])
            else:
                delete_object(cdn, f"{_LATEST}/{name}")  # it would be that of an older scan
    publish_bytes(cdn, f"{_INDEX}/README.txt", render_readme(index))
    publish_bytes(cdn, f"{_INDEX}/datasets.json", render_json(index))
    publish_bytes(cdn, f"{_INDEX}/datasets.html", render_html(index))
    publish_bytes(cdn, f"{_INDEX}/feed.xml", render_feed(index))
    if latest:
        publish_bytes(cdn, f"{_LATEST}/index.html", render_redirect(latest, index))
