"""Writing the index: what ends up in a real object store, in which order, and that no link of it is dead."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree as ET

import minisign
import pytest

from pypi_scan.index import load_index, write_index
from pypi_scan.index.latest import LATEST_FILES
from pypi_scan.publish import Cdn, PublishError, publish_bytes, read_object

from .published_scans import CHANGES, PUBLIC_URL, publish_scan

FILES = {
    "README.txt": b"read me\n",
    "changes.html": b"<!doctype html>",
    "dataset.zst": b"zst",
    "package_list.txt": b"demo\n",
}
INDEX_FILES = {
    "README.txt": "text/plain; charset=utf-8",
    "croissant.json": "application/json",
    "datasets.html": "text/html; charset=utf-8",
    "datasets.json": "application/json",
}

POINTING = ("croissant.json", "dataset_card.md", "datasets.json", "feed.xml")


class Page(HTMLParser):
    """Where a page leads to, and the anchors in it."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.links += [values["href"]] if "href" in values else []
        self.anchors |= {values["id"]} if "id" in values else set()
        if values.get("http-equiv") == "refresh":
            self.links.append(values["content"].partition("url=")[2])


def links(key: str, content: bytes) -> set[tuple[str, str]]:
    """The keys on the CDN, and the anchors in them, that the object with this key leads to."""
    text = content.decode(errors="replace")
    if key.endswith(".html"):
        found = Page(text).links
    elif key.endswith(".xml"):
        found = [link.get("href", "") for link in ET.fromstring(text).iter("{http://www.w3.org/2005/Atom}link")]
    elif key.endswith(".md"):
        found = re.findall(r"\]\((.*?)\)", text)
    elif "/index/" in key and key.endswith(".json"):
        found = [value for value in re.findall(r'"(https:[^" ]+)"', text) if not value.endswith("/")]
    else:
        found = []
    urls = [urlsplit(urljoin(f"{PUBLIC_URL}/{key}", link)) for link in found]
    return {(unquote(url.path[1:]), url.fragment) for url in urls if f"{url.scheme}://{url.netloc}" == PUBLIC_URL}


@contextmanager
def dead_links(cdn: Cdn) -> Iterator[set[tuple[str, str]]]:
    """Collect each link that leads nowhere at the moment when its object is uploaded: object and target."""
    there = {key: read_object(cdn, key) or b"" for key in keys(cdn)}
    dead = set()

    def look(params: dict[str, Any], **_: Any) -> None:
        key = params["Key"]
        there[key] = params["Body"]
        for target, anchor in links(key, there[key]):
            if target not in there:
                dead.add((key, target))
            elif anchor and anchor not in Page(there[target].decode()).anchors:
                dead.add((key, f"{target}#{anchor}"))

    cdn.client.meta.events.register("provide-client-params.s3.PutObject", look)
    yield dead
    cdn.client.meta.events.unregister("provide-client-params.s3.PutObject", look)


def keys(cdn: Cdn) -> set[str]:
    return {each["Key"] for each in cdn.client.list_objects_v2(Bucket=cdn.bucket).get("Contents", ())}


def publish_everything(cdn: Cdn) -> None:
    publish_scan(cdn, "2026-10-01", FILES)
    publish_scan(cdn, "2026-11-01", FILES, changes=CHANGES)
    publish_scan(cdn, "2026-11-15", FILES, partial=True)
    publish_bytes(cdn, "aura/md5_checksums.txt", b"")
    publish_bytes(cdn, "aura/aura_dataset.tgz", b"")
    publish_bytes(cdn, "pypi_datasets/index/minisign.pub", bytes(minisign.KeyPair.generate().public_key) + b"\n")


def test_everything_is_written_and_kept_by_caches_for_minutes_only(cdn: Cdn) -> None:
    publish_everything(cdn)
    write_index(cdn, load_index(cdn))
    for name, kind in INDEX_FILES.items():
        stored = cdn.client.get_object(Bucket=cdn.bucket, Key=f"pypi_datasets/index/{name}")
        assert (stored["ContentType"], stored["CacheControl"]) == (kind, "public, max-age=300")
    assert keys(cdn) >= {f"pypi_datasets/index/{name}" for name in ("dataset_card.md", "feed.xml")}
    documents = json.loads(read_object(cdn, "pypi_datasets/index/datasets.json") or b"")
    assert [scan["scan_id"] for scan in documents["scans"]] == ["2026-11-15", "2026-11-01", "2026-10-01"]
    before = load_index(cdn)
    write_index(cdn, before)
    assert load_index(cdn) == before, "neither the index nor latest/ is a scan"


def test_no_link_is_dead_at_any_time(cdn: Cdn) -> None:
    publish_everything(cdn)
    index = "pypi_datasets/index"
    with dead_links(cdn) as dead:
        write_index(cdn, load_index(cdn))
    # Of what leads to each other one has to be there first, the very first time.
    assert dead == {
        (f"{index}/croissant.json", f"{index}/datasets.html"),
        (f"{index}/datasets.html", f"{index}/feed.xml"),
        (f"{index}/datasets.html", "pypi_datasets/latest/index.html"),
    }
    publish_scan(cdn, "2026-12-01", FILES, changes=CHANGES | {"since": "2026-11-01"})
    with dead_links(cdn) as dead:
        write_index(cdn, load_index(cdn))
    assert dead == set()
    page = links(f"{index}/datasets.html", read_object(cdn, f"{index}/datasets.html") or b"")
    assert {
        ("pypi_datasets/2026-12-01/changes.html", ""),
        (f"{index}/minisign.pub", ""),
        (f"{index}/feed.xml", ""),
    } <= page
    assert all(links(f"{index}/{name}", read_object(cdn, f"{index}/{name}") or b"") for name in POINTING)


def test_latest_is_the_newest_full_scan(cdn: Cdn) -> None:
    publish_everything(cdn)
    write_index(cdn, load_index(cdn))
    for name in LATEST_FILES:
        newest = read_object(cdn, f"pypi_datasets/2026-11-01/{name}")
        assert newest is not None
        assert read_object(cdn, f"pypi_datasets/latest/{name}") == newest
    names = {key.removeprefix("pypi_datasets/latest/") for key in keys(cdn) if "/latest/" in key}
    assert names == {*LATEST_FILES, "index.html"}
    assert b"../index/datasets.html#2026-11-01" in (read_object(cdn, "pypi_datasets/latest/index.html") or b"")
    stored = cdn.client.head_object(Bucket=cdn.bucket, Key="pypi_datasets/latest/manifest.json")
    assert stored["CacheControl"] == "public, max-age=300"


def test_latest_keeps_nothing_of_an_older_scan(cdn: Cdn) -> None:
    publish_scan(cdn, "2026-10-01", FILES)
    write_index(cdn, load_index(cdn))
    large = b"demo\n" * (2 << 20)
    publish_scan(cdn, "2026-11-01", FILES | {"package_list.txt": large})
    cdn.client.delete_object(Bucket=cdn.bucket, Key="pypi_datasets/2026-11-01/manifest.json.minisig")
    write_index(cdn, load_index(cdn))
    assert read_object(cdn, "pypi_datasets/latest/package_list.txt") is None
    assert read_object(cdn, "pypi_datasets/latest/manifest.json.minisig") is None
    assert read_object(cdn, "pypi_datasets/latest/README.txt") == b"read me\n"


def test_without_a_full_scan_there_is_no_latest(cdn: Cdn) -> None:
    publish_scan(cdn, "2026-11-01", FILES, partial=True)
    write_index(cdn, load_index(cdn))
    names = {key.removeprefix("pypi_datasets/index/") for key in keys(cdn) if "/index/" in key}
    assert names == {"README.txt", "datasets.html", "datasets.json", "feed.xml"}
    assert not [key for key in keys(cdn) if "/latest/" in key]


@pytest.mark.parametrize(("fault", "message"), [(b"changed\n", "not what its manifest says"), (None, "missing")])
def test_a_file_that_is_not_as_published_is_not_copied(cdn: Cdn, fault: bytes | None, message: str) -> None:
    publish_scan(cdn, "2026-11-01", FILES)
    key = "pypi_datasets/2026-11-01/README.txt"
    if fault is None:
        cdn.client.delete_object(Bucket=cdn.bucket, Key=key)
    else:
        publish_bytes(cdn, key, fault)
    before = keys(cdn)
    with pytest.raises(PublishError, match=rf"{PUBLIC_URL}/{key} is {message}"):
        write_index(cdn, load_index(cdn))
    assert keys(cdn) == before
