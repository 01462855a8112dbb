"""The torrent, judged by BitTorrent clients: libtorrent, and aria2 where it is there."""

import hashlib
import os
import random
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libtorrent
import pytest

from demo.object_store import ObjectStore
from pypi_scan.publish import Cdn, publish_directory
from pypi_scan.torrent import PieceHasher, TorrentError, magnet_link, make_torrent, piece_size

WEB_SEED = "https://cdn.example/pypi_datasets/"
SIZES = [70_000, 0, 1, 65_535, 65_536, 200_000]  # pieces of 64 KiB: ends within, at and across files, an empty file
SECONDS = 60  # a download may take


def contents(total: int | None = None) -> dict[str, bytes]:
    chance = random.Random(1)
    return {f"file{number}": chance.randbytes(size) for number, size in enumerate([total] if total else SIZES)}


def torrent_of(files: dict[str, bytes], block: int = 1 << 20, name: str = "2026-11-01") -> bytes:
    pieces = PieceHasher(1 << 16)
    for content in files.values():
        for start in range(0, len(content), block):
            pieces.update(content[start : start + block])
    return make_torrent(name, [(file, len(content)) for file, content in files.items()], pieces, WEB_SEED)


@pytest.mark.parametrize("block", [1 << 20, 1 << 16, 10_007])
def test_the_pieces_are_those_that_libtorrent_finds(tmp_path: Path, block: int) -> None:
    files = contents()
    (tmp_path / "2026-11-01").mkdir()
    for name, content in files.items():
        (tmp_path / "2026-11-01" / name).write_bytes(content)
    entries = [libtorrent.create_file_entry(f"2026-11-01/{name}", len(content)) for name, content in files.items()]
    theirs = libtorrent.create_torrent(entries, 1 << 16, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(theirs, str(tmp_path))
    assert libtorrent.bdecode(torrent_of(files, block))[b"info"] == theirs.generate()[b"info"]


def test_a_last_piece_that_is_full_is_not_followed_by_an_empty_one() -> None:
    assert len(libtorrent.bdecode(torrent_of(contents(3 << 16)))[b"info"][b"pieces"]) == 3 * 20


def test_the_same_files_give_the_same_bytes() -> None:
    first = torrent_of(contents())
    second = int(time.time())
    while int(time.time()) == second:  # a creation date would be another one now
        time.sleep(0.05)
    assert torrent_of(contents()) == first
    assert libtorrent.bdecode(first).keys() == {b"info", b"url-list"}


@pytest.mark.parametrize(
    ("total", "size"),
    [
        (0, 1 << 16),
        (10**6, 1 << 16),
        (1 << 27, 1 << 16),
        ((1 << 27) + 1, 1 << 17),
        (10**10, 1 << 23),
        (10**12, 1 << 24),
    ],
)
def test_piece_sizes(total: int, size: int) -> None:
    assert piece_size(total) == size


def test_the_magnet_link_has_the_hash_the_name_and_the_web_seed_and_no_tracker() -> None:
    torrent = torrent_of(contents())
    info_hash = hashlib.sha1(libtorrent.bencode(libtorrent.bdecode(torrent)[b"info"])).hexdigest()
    link = magnet_link(torrent, "2026-11-01")
    parts = urllib.parse.parse_qsl(urllib.parse.urlsplit(link).query, strict_parsing=True)
    assert link.startswith("magnet:?")
    assert parts == [("xt", f"urn:btih:{info_hash}"), ("dn", "2026-11-01"), ("ws", WEB_SEED)]


@pytest.mark.parametrize(
    ("torrent", "message"),
    [
        (b"", "not a torrent"),
        (b"de", "not a torrent: missing or invalid 'info'"),
        (torrent_of(contents())[:-1], "not a torrent"),
        (torrent_of(contents(), name="2026-10-01"), "of something else, '2026-10-01'"),
    ],
)
def test_what_is_not_the_torrent_has_no_magnet_link(torrent: bytes, message: str) -> None:
    with pytest.raises(TorrentError, match=message):
        magnet_link(torrent, "2026-11-01")


@pytest.fixture
def published(make_scan: Callable[..., Any], store: ObjectStore, cdn: Cdn) -> Path:
    """A packed dataset of several pieces, which is on the CDN."""
    scan = make_scan({"a": None, "b": None})
    results = scan.results("0001")
    for record in results.records:
        record["tags"] = [random.Random(1).randbytes(150_000).hex()]
    results.accept()
    scan.pack(store.public_url)
    dataset: Path = scan.directory / "dataset"
    public = replace(cdn, bucket=store.bucket, public_url=store.public_url)
    publish_directory(public, dataset, f"pypi_datasets/{scan.plan.scan_id}", last=("manifest.json",), immutable=True)
    return dataset


def torrent_url(store: ObjectStore) -> str:
    return f"{store.public_url}/pypi_datasets/2026-11-01/dataset.torrent"


def is_whole(downloaded: Path, dataset: Path) -> None:
    """Fail unless `downloaded` holds the files of the dataset, but for the torrent, and its checksums say so."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dataset.iterdir()}
    del digests["dataset.torrent"]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in downloaded.iterdir()} == digests
    for tool in ("md5", "sha256"):
        command = [f"{tool}sum", "--check", "--strict", "--quiet", f"checksums.{tool}.txt"]
        subprocess.run(command, cwd=downloaded, check=True)


def test_the_torrent_is_published_for_what_it_is(store: ObjectStore, cdn: Cdn, published: Path) -> None:
    key = "pypi_datasets/2026-11-01/dataset.torrent"
    head = cdn.client.head_object(Bucket=store.bucket, Key=key)
    assert head["ContentType"] == "application/x-bittorrent"
    assert head["CacheControl"] == "public, max-age=31536000, immutable"
    assert len(libtorrent.bdecode((published / "dataset.torrent").read_bytes())[b"info"][b"pieces"]) > 20


def test_libtorrent_downloads_the_dataset_from_the_cdn_alone(
    store: ObjectStore, published: Path, tmp_path: Path
) -> None:
    with urllib.request.urlopen(torrent_url(store), timeout=10) as answer:
        params = libtorrent.load_torrent_buffer(answer.read())
    params.save_path = str(tmp_path / "libtorrent")
    off = dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False)
    session = libtorrent.session({"listen_interfaces": "127.0.0.1:0", **off})
    download = session.add_torrent(params)
    deadline = time.monotonic() + SECONDS
    while not (status := download.status()).is_seeding:
        assert time.monotonic() < deadline, f"{status.state}, {status.total_done} of {status.total_wanted} bytes"
        session.wait_for_alert(100)
        session.pop_alerts()
    is_whole(tmp_path / "libtorrent" / "2026-11-01", published)


@pytest.mark.skipif(not shutil.which("aria2c"), reason="aria2 is not installed")
def test_aria2_downloads_the_dataset_from_the_cdn_alone(store: ObjectStore, published: Path, tmp_path: Path) -> None:
    off = ["--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false"]
    alone = ["--no-conf", "--no-netrc", "--interface=127.0.0.1", "--disable-ipv6=true", *off]
    target = ["--follow-torrent=mem", "--seed-time=0", f"--dir={tmp_path / 'aria2'}", torrent_url(store)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["aria2c", *alone, *target], env=env, check=True, capture_output=True, timeout=SECONDS)
    is_whole(tmp_path / "aria2" / "2026-11-01", published)
