"""Publishing to a real S3 server: what arrives, in which order, and what is refused."""

import hashlib
import logging
import os
import shutil
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from demo.object_store import ObjectStore
from pypi_scan import publish
from pypi_scan.publish import Cdn, ImmutableObjectError, PublishError, make_client, publish_directory

FILES = {
    "checksums.sha256.txt": b"0  dataset.zst\n",
    "dataset.zst": b"\x28\xb5\x2f\xfd" * 10,
    "manifest.json": b"{}",
    "readme.html": b"<p>",
    "stats.gz": b"\x1f\x8b",
}


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


def test_files_arrive_with_their_types(cdn: Cdn, directory: Path) -> None:
    (directory / ".dataset.zst.tmp").write_bytes(b"half")
    summary = publish_directory(cdn, directory, "pypi_datasets/2026-11-01", immutable=True)
    assert summary == {"uploaded": sorted(FILES), "unchanged": [], "bytes": sum(map(len, FILES.values()))}
    assert stored(cdn) == {f"pypi_datasets/2026-11-01/{name}": content for name, content in FILES.items()}
    heads = {name: cdn.client.head_object(Bucket=cdn.bucket, Key=f"pypi_datasets/2026-11-01/{name}") for name in FILES}
    assert {name: head["ContentType"] for name, head in heads.items()} == {
        "checksums.sha256.txt": "text/plain; charset=utf-8",
        "dataset.zst": "application/zstd",
        "manifest.json": "application/json",
        "readme.html": "text/html; charset=utf-8",
        "stats.gz": "application/gzip",
    }
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
