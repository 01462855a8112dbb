"""The demo's object store: signatures are checked, reads are public, and nobody else gets at it."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from demo.object_store import ObjectStore, object_store

from .listening import listening_addresses

CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("object-store") / "store"


@pytest.fixture(scope="module")
def store(directory: Path) -> Iterator[ObjectStore]:
    with object_store(directory, directory.parent / "logs") as store:
        yield store


def client(store: ObjectStore, secret_key: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=secret_key or store.secret_key,
        region_name="us-east-1",
    )


def public(store: ObjectStore, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    address = urlsplit(store.public_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_what_is_put_with_the_key_is_public(store: ObjectStore, directory: Path) -> None:
    s3 = client(store)
    s3.put_object(Bucket=store.bucket, Key="aura/a b.zst", Body=CONTENT)
    assert s3.get_object(Bucket=store.bucket, Key="aura/a b.zst")["Body"].read() == CONTENT
    assert (directory / "cdn" / "aura" / "a b.zst").read_bytes() == CONTENT
    assert public(store, "/aura/a%20b.zst") == (200, CONTENT)
    assert public(store, "/aura/a%20b.zst", Range="bytes=256-511") == (206, CONTENT[256:512])
    assert public(store, "/aura/nothing")[0] == 404


def test_what_is_put_again_is_public_at_once(store: ObjectStore) -> None:
    s3 = client(store)
    for content in (b"one", b"another"):
        s3.put_object(Bucket=store.bucket, Key="index/datasets.json", Body=content)
        assert public(store, "/index/datasets.json") == (200, content)


def test_another_key_is_refused(store: ObjectStore, directory: Path) -> None:
    s3 = client(store, secret_key="0" * 40)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.put_object(Bucket=store.bucket, Key="forged", Body=b"x")
    with pytest.raises(ClientError):
        s3.list_objects_v2(Bucket=store.bucket)
    assert not (directory / "cdn" / "forged").exists()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_public_cannot_write(store: ObjectStore, directory: Path, method: str) -> None:
    (directory / "cdn" / "kept").write_bytes(b"x")
    assert public(store, "/kept", method)[0] >= 400
    assert (directory / "cdn" / "kept").read_bytes() == b"x"


def test_the_keys_are_in_no_argument_of_a_process(store: ObjectStore) -> None:
    seen = []
    for entry in Path("/proc").iterdir():
        try:
            seen.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    assert any(b"rclone" in command for command in seen)
    for key in (store.access_key, store.secret_key):
        assert not any(key.encode() in command for command in seen)


def test_only_this_machine_can_connect(store: ObjectStore) -> None:
    for url in (store.endpoint_url, store.public_url):
        assert listening_addresses(int(urlsplit(url).port or 0)) == {"127.0.0.1"}


def test_the_keys_are_new_each_time(store: ObjectStore, tmp_path: Path) -> None:
    with object_store(tmp_path / "store", tmp_path / "logs") as another:
        assert {another.access_key, another.secret_key}.isdisjoint({store.access_key, store.secret_key})
    assert listening_addresses(int(urlsplit(another.endpoint_url).port or 0)) == set()
