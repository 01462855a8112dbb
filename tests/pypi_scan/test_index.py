"""The index of published scans as data, from manifests in a real object store to datasets.json."""

import hashlib
import json
import re
from typing import Any

import minisign
import pytest

from pypi_scan.index import load_index, published_scan_ids
from pypi_scan.index.load import PublicKeyError
from pypi_scan.index.model import SmallDataset, describe_scan, make_index, render_json
from pypi_scan.manifest import ManifestError, parse_manifest
from pypi_scan.publish import Cdn, publish_bytes
from pypi_scan.torrent import TorrentError, magnet_link

from .published_scans import CHANGES, PUBLIC_URL, described, index_of, manifest, torrent


def file(name: str, content: bytes, about: str) -> dict[str, Any]:
    return {
        "name": name,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": f"https://cdn.example/pypi_datasets/2026-11-01/{name}",
        "about": about,
    }


def test_json_says_what_a_program_needs() -> None:
    assert json.loads(render_json(index_of(described()))) == {
        "url": "https://cdn.example/pypi_datasets/index/",
        "latest": "2026-11-01",
        "public_key": None,
        "scans": [
            {
                "scan_id": "2026-11-01",
                "as_of": "2026-11-01T00:00:00Z",
                "partial": False,
                "packages": 1040,
                "scanned": 1035,
                "by_status": {"crash": 1, "no_release": 5, "ok": 1034},
                "size": 2_000_500 + len(manifest()),
                "url": "https://cdn.example/pypi_datasets/2026-11-01/",
                "mirror_serial": 123,
                "scanner": {"name": "aura-security", "version": "2.1", "python": "3.11.7"},
                "editions": ["dataset.zst"],
                "changes": None,
                "changes_page": None,
                "manifest": "https://cdn.example/pypi_datasets/2026-11-01/manifest.json",
                "signature": None,
                "magnet": None,
                "files": [
                    {
                        "name": "dataset.zst",
                        "size": 2_000_000,
                        "sha256": "a" * 64,
                        "url": "https://cdn.example/pypi_datasets/2026-11-01/dataset.zst",
                        "about": "JSON lines: everything Aura found, a record a package",
                    },
                    {
                        "name": "joblog.txt",
                        "size": 500,
                        "sha256": "c" * 64,
                        "url": "https://cdn.example/pypi_datasets/2026-11-01/joblog.txt",
                        "about": "a row a package tried, in GNU parallel's joblog format",
                    },
                    file(
                        "manifest.json",
                        manifest(),
                        "provenance: mirror serial, scanner, settings, counts, digests",
                    ),
                ],
            }
        ],
        "small_datasets": [],
    }


def test_what_lies_beside_the_manifest_is_listed_too() -> None:
    contents = {"manifest.json": manifest(), "manifest.json.minisig": b"sig", "dataset.torrent": torrent()}
    scan = describe_scan(parse_manifest(manifest()), PUBLIC_URL, contents)
    (entry,) = json.loads(render_json(index_of(scan)))["scans"]
    assert entry["magnet"] == magnet_link(torrent(), "2026-11-01")
    assert entry["signature"] == "https://cdn.example/pypi_datasets/2026-11-01/manifest.json.minisig"
    assert file("dataset.torrent", torrent(), "every other file for BitTorrent clients") in entry["files"]
    assert file("manifest.json.minisig", b"sig", "minisign's signature of the manifest") in entry["files"]
    assert entry["size"] == 2_000_500 + sum(map(len, contents.values()))


def test_changes_and_their_page_are_told() -> None:
    files = [{"name": "changes.html", "size": 1, "sha256": "a" * 64, "md5": ""}]
    scan = described(changes=CHANGES, files=files)
    (entry,) = json.loads(render_json(index_of(scan)))["scans"]
    assert entry["changes"] == CHANGES
    assert entry["changes_page"] == "https://cdn.example/pypi_datasets/2026-11-01/changes.html"


def test_newest_first_whatever_the_order_of_arrival() -> None:
    scans = [
        described("2026-10-01"),
        described("2026-11-01-2"),
        described("2026-11-01"),
        described("2026-11-01-10"),
        described("2026-12-01", as_of="2026-12-01T01:30:00+02:00"),
    ]
    index = index_of(*scans)
    in_order = ["2026-12-01", "2026-11-01-10", "2026-11-01-2", "2026-11-01", "2026-10-01"]
    assert [scan.scan_id for scan in index.scans] == in_order
    assert b'"as_of": "2026-11-30T23:30:00Z"' in render_json(index)
    assert render_json(index_of(*reversed(scans))) == render_json(index)


def test_a_partial_scan_is_never_the_latest() -> None:
    index = index_of(described("2026-12-01", partial=True), described("2026-11-01"), described("2026-10-01"))
    assert index.latest == "2026-11-01"
    assert index_of(described("2026-12-01", partial=True)).latest is None
    assert index_of().latest is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scan_id": "../aura"}, "not a scan id"),
        ({"scan_id": "index"}, "not a scan id"),
        ({"scan_id": "2026-11-01\n"}, "not a scan id"),
        ({"as_of": "2026-11-01T00:00:00"}, "as_of is not a time with UTC offset"),
        ({"as_of": "2026-11-01T" + "\n" * 10_000}, "as_of is not a time with UTC offset"),
        ({"as_of": "yesterday"}, "as_of is not a time with UTC offset"),
        ({"as_of": "0001-01-01T00:00:00+23:00"}, "as_of is not a time with UTC offset"),
        ({"mirror_serial": -1}, "negative"),
        ({"mirror_serial": "123"}, r"Expected `int`.*mirror_serial"),
        ({"partial": "no"}, r"Expected `bool`.*partial"),
        ({"counts": {"input": 1, "records": 0}}, "missing required field `by_status`"),
        ({"counts": {"input": 1, "records": 1, "by_status": {"<b>ok</b>": 1}}}, "not a status"),
        ({"changes": CHANGES | {"since": "#x"}}, "not a scan id"),
        ({"changes": CHANGES | {"gone": -1}}, "negative"),
        ({"files": [{"name": "../x", "size": 1, "sha256": "a" * 64, "md5": ""}]}, "not a file name"),
        ({"files": [{"name": "..", "size": 1, "sha256": "a" * 64, "md5": ""}]}, "not a file name"),
        ({"files": [{"name": "a|<b>.txt", "size": 1, "sha256": "a" * 64, "md5": ""}]}, "not a file name"),
        ({"files": [{"name": "x\u202etxt.exe", "size": 1, "sha256": "a" * 64, "md5": ""}]}, "not a file name"),
        ({"files": [{"name": "x", "size": 1, "sha256": "a" * 64, "md5": ""}] * 2}, "names a file twice"),
        ({"files": [{"name": "x", "size": -1, "sha256": "a" * 64, "md5": ""}]}, "negative"),
        ({"files": [{"name": "x", "size": 1, "sha256": "A", "md5": ""}]}, "not a sha256"),
    ],
)
def test_a_bad_manifest_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as error:
        parse_manifest(manifest(**({"scan_id": "2026-11-01"} | changes)))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("content", [b'{"unknown": ' + b"[" * 10_000, b'{"scan_id": "\xff"}', b""], ids=range(3))
def test_what_is_no_manifest_at_all_is_an_error_too(content: bytes) -> None:
    with pytest.raises(ManifestError, match="not a manifest of a scan"):
        parse_manifest(content)


def test_index_lists_what_is_on_the_cdn(cdn: Cdn) -> None:
    assert load_index(cdn) == index_of()
    for scan_id in ("2026-10-01", "2026-11-01"):
        publish_bytes(cdn, f"pypi_datasets/{scan_id}/manifest.json", manifest(scan_id))
    publish_bytes(cdn, "pypi_datasets/2026-11-01/dataset.torrent", torrent())
    publish_bytes(cdn, "pypi_datasets/2026-11-01/checksums.md5.txt", b"md5")
    publish_bytes(cdn, "pypi_datasets/2026-12-01/dataset.zst", b"its manifest is still to come")
    publish_bytes(cdn, "pypi_datasets/latest/manifest.json", b"a copy")
    publish_bytes(cdn, "aura/md5_checksums.txt", b"12345")
    publish_bytes(cdn, "aura/<b>.gz", b"not one of ours")
    key = minisign.KeyPair.generate().public_key
    publish_bytes(cdn, "pypi_datasets/index/minisign.pub", bytes(key) + b"\n")
    beside = {"manifest.json": manifest(), "dataset.torrent": torrent(), "checksums.md5.txt": b"md5"}
    assert load_index(cdn) == make_index(
        PUBLIC_URL,
        [described("2026-10-01"), describe_scan(parse_manifest(manifest()), PUBLIC_URL, beside)],
        [SmallDataset("md5_checksums.txt", 5, f"{PUBLIC_URL}/aura/md5_checksums.txt", "for md5sum -c")],
        key.to_base64().decode(),
    )
    assert published_scan_ids(cdn) == ["2026-10-01", "2026-11-01", "2026-12-01"]


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


@pytest.mark.parametrize("content", [b"", b"untrusted comment: x\n<script>\n", b"\xff\n\xff\n"])
def test_a_bad_public_key_on_the_cdn_is_named(cdn: Cdn, content: bytes) -> None:
    publish_bytes(cdn, "pypi_datasets/index/minisign.pub", content)
    with pytest.raises(PublicKeyError, match=f"{PUBLIC_URL}/pypi_datasets/index/minisign.pub: not minisign's"):
        load_index(cdn)


def test_a_hostile_torrent_adds_nothing_to_the_magnet_link_but_text() -> None:
    hostile = torrent(web_seed='https://x.example/"><script>&xt=urn:btih:0\n/')
    contents = {"manifest.json": manifest(), "dataset.torrent": hostile}
    magnet = describe_scan(parse_manifest(manifest()), PUBLIC_URL, contents).magnet
    assert magnet is not None
    assert re.fullmatch(r"magnet:\?xt=urn:btih:[0-9a-f]{40}&dn=2026-11-01&ws=[A-Za-z0-9%._~-]+", magnet)
