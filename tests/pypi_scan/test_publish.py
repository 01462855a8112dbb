"""Publishing to a real S3 server: what arrives, in which order, and what is refused."""

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from demo.object_store import ObjectStore, object_store
from pypi_scan import publish
from pypi_scan.publish import Cdn, ImmutableObjectError, PublishError, make_client, publish_directory

FILES = {
    "checksums.sha256.txt": b"0  dataset.zst\n",
    "dataset.zst": b"\x28\xb5\x2f\xfd" * 10,
    "manifest.json": b"{}",
    "readme.html": b"<p>",
    "stats.gz": b"\x1f\x8b",
}

CONTENT_TYPES = {
    "aura_dataset.tgz": "application/gzip",
    "card.md": "text/markdown; charset=utf-8",
    "changes.jsonl.zst": "application/zstd",
    "checksums.sha256.txt": "text/plain; charset=utf-8",
    "dataset.index.json": "application/json",
    "dataset.sqlite.zst": "application/zstd",
    "dataset.torrent": "application/x-bittorrent",
    "dataset.zst": "application/zstd",
    "datasets.html": "text/html; charset=utf-8",
    "feed.xml": "application/atom+xml; charset=utf-8",
    "manifest.json": "application/json",
    "manifest.json.minisig": "text/plain; charset=utf-8",
    "minisign.pub": "text/plain; charset=utf-8",
    "packages.parquet": "application/vnd.apache.parquet",
    "stats.gz": "application/gzip",
    "what.ever": "application/octet-stream",
}

# What a child process does that is killed while it does it.
PUBLISH = """
import os, sys
from pathlib import Path
from pypi_scan.publish import Cdn, make_client, publish_directory
endpoint, bucket, directory = sys.argv[1:]
client = make_client(endpoint, os.environ["ACCESS_KEY"], os.environ["SECRET_KEY"], "us-east-1")
publish_directory(
    Cdn(client, bucket, "https://cdn.example"), Path(directory), "scan", last=("manifest.json",), immutable=True
)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "public"
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    return path


def stored(cdn: Cdn) -> dict[str, bytes]:
    objects = cdn.client.list_objects_v2(Bucket=cdn.bucket).get("Contents", [])
    return {o["Key"]: cdn.client.get_object(Bucket=cdn.bucket, Key=o["Key"])["Body"].read() for o in objects}


def uploads(cdn: Cdn) -> list[str]:
    """Collect the keys of PutObject requests from now on, in order."""
    keys: list[str] = []
    cdn.client.meta.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: keys.append(params["Key"])
    )
    return keys


def requests(cdn: Cdn) -> list[str]:
    """Collect the names of all requests from now on, in order."""
    names: list[str] = []
    cdn.client.meta.events.register("before-call.s3", lambda model, **_: names.append(model.name))
    return names


def unfinished(cdn: Cdn, prefix: str = "") -> list[str]:
    pages = cdn.client.list_multipart_uploads(Bucket=cdn.bucket, Prefix=prefix)
    return [upload["Key"] for upload in pages.get("Uploads", [])]


class StallingProxy:
    """Forwards connections to a server of this machine until `limit` bytes were sent to it, then nothing any more."""

    def __init__(self, upstream: str, limit: int) -> None:
        self.stalled = threading.Event()
        self._left = limit
        self._lock = threading.Lock()
        self._upstream = urlsplit(upstream)
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection((self._upstream.hostname, self._upstream.port))
            self._connections += [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):  # either side is gone
            while data := source.recv(1 << 16):
                if counted:
                    with self._lock:
                        self._left -= len(data)
                    if self._left < 0:
                        self.stalled.set()
                        return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for connection in (self._listener, *self._connections):
            with contextlib.suppress(OSError):  # the other side has closed it
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def test_files_arrive_with_their_types(cdn: Cdn, directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()
    for name in CONTENT_TYPES:
        (directory / name).write_bytes(name.encode())
    (directory / ".dataset.zst.tmp").write_bytes(b"half")
    summary = publish_directory(cdn, directory, "pypi_datasets/2026-11-01", immutable=True)
    names = sorted(CONTENT_TYPES)
    assert summary == {"uploaded": names, "unchanged": [], "bytes": sum(map(len, names))}
    assert stored(cdn) == {f"pypi_datasets/2026-11-01/{name}": name.encode() for name in names}
    heads = {name: cdn.client.head_object(Bucket=cdn.bucket, Key=f"pypi_datasets/2026-11-01/{name}") for name in names}
    assert {name: head["ContentType"] for name, head in heads.items()} == CONTENT_TYPES
    assert {head["CacheControl"] for head in heads.values()} == {"public, max-age=31536000, immutable"}
    assert not any("ContentEncoding" in head for head in heads.values())


def test_files_that_vouch_for_others_go_last(cdn: Cdn, directory: Path) -> None:
    keys = uploads(cdn)
    publish_directory(cdn, directory, "aura", last=("manifest.json", "checksums.sha256.txt"), immutable=False)
    assert keys == [
        "aura/dataset.zst",
        "aura/readme.html",
        "aura/stats.gz",
        "aura/manifest.json",
        "aura/checksums.sha256.txt",
    ]


def test_publishing_again_changes_nothing(cdn: Cdn, directory: Path) -> None:
    publish_directory(cdn, directory, "scan", immutable=True)
    (directory / "dataset.torrent").write_bytes(b"d")
    keys = uploads(cdn)
    summary = publish_directory(cdn, directory, "scan", immutable=True)
    assert summary == {"uploaded": ["dataset.torrent"], "unchanged": sorted(FILES), "bytes": 1}
    assert keys == ["scan/dataset.torrent"]


def test_publishing_again_reads_nothing_back(cdn: Cdn, directory: Path) -> None:
    publish_directory(cdn, directory, "scan", immutable=True)
    asked = requests(cdn)
    assert publish_directory(cdn, directory, "scan", immutable=True)["uploaded"] == []
    assert sorted(asked) == ["HeadObject"] * len(FILES) + ["ListMultipartUploads"]


@contextlib.contextmanager
def served(tmp_path: Path) -> Iterator[Cdn]:
    """A store of its own, which is another server each time with the same files on its disk."""
    with object_store(tmp_path / "buckets", tmp_path / "logs") as store:
        client = make_client(store.endpoint_url, store.access_key, store.secret_key, "us-east-1")
        yield Cdn(client, store.bucket, "https://cdn.example")


def test_without_metadata_the_bytes_decide(tmp_path: Path, directory: Path) -> None:
    with served(tmp_path) as cdn:
        publish_directory(cdn, directory, "scan", immutable=True)
    with served(tmp_path) as cdn:  # rclone's server forgot the metadata when it ended; other stores never had any
        assert cdn.client.head_object(Bucket=cdn.bucket, Key="scan/manifest.json")["Metadata"] == {}
        asked = requests(cdn)
        assert publish_directory(cdn, directory, "scan", immutable=True)["unchanged"] == sorted(FILES)
        (directory / "manifest.json").write_bytes(b"}{")
        with pytest.raises(ImmutableObjectError, match="already public with other bytes"):
            publish_directory(cdn, directory, "scan", immutable=True)
        assert "GetObject" in asked
        assert "PutObject" not in asked


def test_a_killed_upload_is_completed_by_the_next_run(store: ObjectStore, cdn: Cdn, tmp_path: Path) -> None:
    directory = tmp_path / "dataset"
    directory.mkdir()
    files = {"a.txt": b"first", "dataset.zst": os.urandom(1 << 20) * 40, "manifest.json": b"{}"}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    proxy = StallingProxy(store.endpoint_url, 24 << 20)
    keys = {"ACCESS_KEY": store.access_key, "SECRET_KEY": store.secret_key}
    command = [sys.executable, "-c", PUBLISH, proxy.url, cdn.bucket, str(directory)]
    child = subprocess.Popen(command, env={**os.environ, **keys})
    try:
        assert proxy.stalled.wait(60), "the upload did not get as far as it should"
    finally:
        child.kill()
        child.wait()
        proxy.close()
    assert stored(cdn) == {"scan/a.txt": files["a.txt"]}
    assert unfinished(cdn) == ["scan/dataset.zst"]

    summary = publish_directory(cdn, directory, "scan", last=("manifest.json",), immutable=True)
    assert (summary["uploaded"], summary["unchanged"]) == (["dataset.zst", "manifest.json"], ["a.txt"])
    assert stored(cdn) == {f"scan/{name}": content for name, content in files.items()}
    assert unfinished(cdn) == []
    asked = requests(cdn)
    again = publish_directory(cdn, directory, "scan", last=("manifest.json",), immutable=True)
    assert again == {"uploaded": [], "unchanged": ["a.txt", "dataset.zst", "manifest.json"], "bytes": 0}
    assert set(asked) == {"HeadObject", "ListMultipartUploads"}


def test_unfinished_uploads_of_other_objects_are_left_alone(cdn: Cdn, directory: Path) -> None:
    others = ["scan-2/dataset.zst", "scan/other.zst", "scan/sub/dataset.zst"]
    for key in ["scan/dataset.zst", *others]:
        cdn.client.create_multipart_upload(Bucket=cdn.bucket, Key=key)
    publish_directory(cdn, directory, "scan", immutable=True)
    assert sorted(unfinished(cdn)) == others


def test_an_origin_that_cannot_list_unfinished_uploads_is_published_to(cdn: Cdn, directory: Path) -> None:
    answer(cdn, 501, "NotImplemented")
    assert publish_directory(cdn, directory, "scan", immutable=True)["uploaded"] == sorted(FILES)


def test_keys_that_may_not_list_unfinished_uploads_are_explained(cdn: Cdn, directory: Path) -> None:
    answer(cdn, 403, "AccessDenied")
    with pytest.raises(PublishError, match=r"removing unfinished uploads below scan failed: .*list and abort"):
        publish_directory(cdn, directory, "scan", immutable=True)


def answer(cdn: Cdn, status: int, code: str) -> None:
    """Let the origin answer so when it is asked for unfinished uploads."""
    body = SimpleNamespace(stream=lambda: [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()])
    cdn.client.meta.events.register(
        "before-send.s3.ListMultipartUploads", lambda request, **_: AWSResponse(request.url, status, {}, body)
    )


@pytest.mark.parametrize("content", [b"}{", b"{ }"], ids=["same size", "other size"])
def test_other_bytes_under_an_immutable_name_are_refused(cdn: Cdn, directory: Path, content: bytes) -> None:
    publish_directory(cdn, directory, "scan", immutable=True)
    before = stored(cdn)
    (directory / "a-new-file.txt").write_bytes(b"comes before the changed one")
    (directory / "manifest.json").write_bytes(content)
    with pytest.raises(ImmutableObjectError, match=r"https://cdn\.example/scan/manifest\.json is already public"):
        publish_directory(cdn, directory, "scan", immutable=True)
    assert stored(cdn) == before


def test_regenerated_files_are_replaced_and_cached_briefly(cdn: Cdn, directory: Path) -> None:
    publish_directory(cdn, directory, "aura", immutable=False)
    (directory / "stats.gz").write_bytes(b"new")
    publish_directory(cdn, directory, "aura", immutable=False)
    assert stored(cdn)["aura/stats.gz"] == b"new"
    head = cdn.client.head_object(Bucket=cdn.bucket, Key="aura/stats.gz")
    assert head["CacheControl"] == "public, max-age=300"


def test_regenerated_files_with_the_same_bytes_are_left_alone(cdn: Cdn, directory: Path) -> None:
    publish_directory(cdn, directory, "aura", last=("checksums.sha256.txt",), immutable=False)
    (directory / "stats.gz").write_bytes(b"\x8b\x1f")
    asked = requests(cdn)
    summary = publish_directory(cdn, directory, "aura", last=("checksums.sha256.txt",), immutable=False)
    assert summary["uploaded"] == ["stats.gz"]
    assert "GetObject" not in asked


def test_a_failed_upload_leaves_the_old_checksums(store: ObjectStore, cdn: Cdn, directory: Path) -> None:
    publish_directory(cdn, directory, "aura", last=("checksums.sha256.txt",), immutable=False)
    for path in directory.iterdir():
        path.write_bytes(b"new " + path.name.encode())
    # The server cannot store this object any more: on its disk, a directory has the name.
    blocked = store.directory / cdn.bucket / "aura" / "readme.html"
    cdn.client.delete_object(Bucket=cdn.bucket, Key="aura/readme.html")
    (blocked / "directory").mkdir(parents=True)
    (blocked / "directory" / "file").write_bytes(b"")
    with pytest.raises(PublishError, match=r"uploading .*readme\.html as aura/readme\.html failed"):
        publish_directory(cdn, directory, "aura", last=("checksums.sha256.txt",), immutable=False)
    after = {path.name: path.read_bytes() for path in blocked.parent.iterdir() if path.is_file()}
    assert after["dataset.zst"] == b"new dataset.zst"
    assert after["checksums.sha256.txt"] == FILES["checksums.sha256.txt"]


def test_a_large_file_goes_up_in_parts_and_logs_progress(
    cdn: Cdn, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_PROGRESS_INTERVAL", 0.0)
    content = os.urandom(1 << 20) * 40
    (tmp_path / "dataset.zst").write_bytes(content)
    parts: list[int] = []
    cdn.client.meta.events.register(
        "provide-client-params.s3.UploadPart", lambda params, **_: parts.append(params["PartNumber"])
    )
    with caplog.at_level(logging.INFO):
        publish_directory(cdn, tmp_path, "scan", immutable=True)
    assert sorted(parts) == [1, 2, 3]
    assert "Uploading scan/dataset.zst: 40 of 40 MiB" in caplog.text
    assert hashlib.sha256(stored(cdn)["scan/dataset.zst"]).digest() == hashlib.sha256(content).digest()
    assert publish_directory(cdn, tmp_path, "scan", immutable=True)["unchanged"] == ["dataset.zst"]


def test_unsigned_requests_are_refused(store: ObjectStore, cdn: Cdn) -> None:
    request = urllib.request.Request(f"{store.endpoint_url}/{cdn.bucket}/x", data=b"x", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=10)
    assert raised.value.code in (400, 403)  # rclone: 400, S3: 403
    assert stored(cdn) == {}


def test_wrong_keys_are_explained(store: ObjectStore, cdn: Cdn, directory: Path) -> None:
    stranger = replace(
        cdn, client=make_client(store.endpoint_url, store.access_key, store.secret_key + "x", "us-east-1")
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.client.put_object(Bucket=cdn.bucket, Key="x", Body=b"x")
    for immutable in (True, False):
        with pytest.raises(PublishError, match=r"refuses the keys .*; check the key and secret of the CDN connection"):
            publish_directory(stranger, directory, "aura", immutable=immutable)
    assert stored(cdn) == {}


def test_keys_of_the_environment_are_not_used(store: ObjectStore, cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "other")
    client = make_client(store.endpoint_url, store.access_key, store.secret_key, "us-east-1")
    assert publish.read_object(replace(cdn, client=client), "nothing") is None


def test_a_missing_bucket_is_explained(cdn: Cdn, directory: Path) -> None:
    for immutable in (True, False):
        with pytest.raises(PublishError, match=r"bucket no-such-bucket does not exist at http://127.*; create it"):
            publish_directory(replace(cdn, bucket="no-such-bucket"), directory, "aura", immutable=immutable)


def test_an_origin_that_does_not_run_is_explained(cdn: Cdn, directory: Path) -> None:
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        away = replace(cdn, client=make_client(endpoint, "key", "secret", "us-east-1"))
        with pytest.raises(PublishError, match=f"Could not connect.*check that {endpoint} is the right endpoint"):
            publish_directory(away, directory, "aura", immutable=True)


def test_an_impossible_endpoint_is_explained() -> None:
    with pytest.raises(PublishError, match="Invalid endpoint: nonsense; correct the CDN connection"):
        make_client("nonsense", "key", "secret", "us-east-1")


@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_only_regular_files_are_published(cdn: Cdn, directory: Path, kind: str) -> None:
    if kind == "directory":
        (directory / "sub").mkdir()
    else:
        (directory / "sub").symlink_to("/etc/passwd")
    with pytest.raises(PublishError, match="sub is not a regular file"):
        publish_directory(cdn, directory, "aura", immutable=True)
    assert stored(cdn) == {}


def test_what_must_go_last_must_be_there(cdn: Cdn, directory: Path) -> None:
    with pytest.raises(PublishError, match=r"md5_checksums\.txt is missing"):
        publish_directory(cdn, directory, "aura", last=("md5_checksums.txt",), immutable=False)
    assert stored(cdn) == {}
    shutil.rmtree(directory)
    with pytest.raises(PublishError, match="nothing to publish"):
        publish_directory(cdn, directory, "aura", immutable=False)


def test_public_urls_are_quoted(cdn: Cdn) -> None:
    assert cdn.url("aura/a b%?.gz") == "https://cdn.example/aura/a%20b%25%3F.gz"
