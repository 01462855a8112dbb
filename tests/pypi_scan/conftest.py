"""Small fake mirrors, and a real object store: ``rclone serve s3`` on loopback, with signatures checked."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pypi_scan.mirror import Mirror
from pypi_scan.publish import Cdn, make_client

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"


def package_json(name: str, requires_dist: list[str] | None = None) -> bytes:
    """A package's JSON document with one release that has one file."""
    file = {
        "filename": f"{name}-1.0.tar.gz",
        "url": f"https://files.example/packages/ab/cd/{name}-1.0.tar.gz",
        "digests": {"sha256": "0" * 64},
        "size": 1,
        "upload_time_iso_8601": "2026-01-01T00:00:00.000000Z",
    }
    info = {"name": name, "version": "1.0", "requires_dist": requires_dist}
    return json.dumps({"info": info, "releases": {"1.0": [file]}, "last_serial": 1}).encode()


@pytest.fixture
def make_mirror(tmp_path: Path) -> Callable[..., Mirror]:
    """Make a mirror of {name: requires_dist, or bytes to use as the JSON document}."""

    def make(packages: dict[str, list[str] | bytes | None]) -> Mirror:
        root = tmp_path / "mirror"
        (root / "web/json").mkdir(parents=True)
        (root / "status").write_text("123")
        for name, content in packages.items():
            document = content if isinstance(content, bytes) else package_json(name, content)
            (root / "web/json" / name).write_bytes(document)
        return Mirror(root)

    return make


@dataclass(frozen=True)
class ObjectStore:
    """A running store; bucket b is the directory ``root/b``."""

    endpoint_url: str
    root: Path


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    root = tmp_path_factory.mktemp("object-store")
    rclone = Path(sys.executable).parent / "rclone"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    # The keys go by environment, not by arguments that every process on the host can see. rclone reads it as CSV.
    environment = os.environ | {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"', "RCLONE_CONFIG": os.devnull}
    with (root.parent / "rclone.log").open("wb") as log:
        server = subprocess.Popen(
            [rclone, "serve", "s3", str(root), "--addr", address], env=environment, stdout=log, stderr=log
        )
    try:
        _wait_until_listening(server, address)
        yield ObjectStore(f"http://{address}", root)
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def cdn(object_store: ObjectStore) -> Cdn:
    """A new, empty bucket."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    client = make_client(object_store.endpoint_url, ACCESS_KEY, SECRET_KEY, "us-east-1")
    client.create_bucket(Bucket=bucket)
    return Cdn(client, bucket, "https://cdn.example")


def _wait_until_listening(server: subprocess.Popen[bytes], address: str) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        assert server.poll() is None, "rclone ended; see rclone.log"
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"rclone does not listen on {address}")
