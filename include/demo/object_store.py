"""The demo's CDN: a real S3 API that checks signatures, and public reads of the same files over HTTP."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.processes import Start, accepts_connections, free_port, running, wait_until

_RCLONE = str(Path(sys.executable).with_name("rclone"))


@dataclass(frozen=True)
class ObjectStore:
    """The S3 endpoint with its keys, the bucket, and the public address of the bucket's objects.

    `directory` holds the buckets, each a directory of files.
    """

    directory: Path
    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    public_url: str


@contextmanager
def object_store(directory: Path, logs: Path, start: Start = running) -> Iterator[ObjectStore]:
    """Serve the buckets (directories) below `directory`; the bucket ``cdn`` is made, and public."""
    bucket = directory / "cdn"
    bucket.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    api, public = free_port(), free_port()
    # Keys go in by the environment, as one quoted CSV field: the arguments of a process can be read by everybody.
    plain = {**os.environ, "RCLONE_CONFIG": os.devnull}
    with_keys = {**plain, "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
    with ExitStack() as stack:
        for name, port, command, env in (
            ("s3", api, ["s3", str(directory)], with_keys),
            ("cdn", public, ["http", str(bucket), "--read-only", "--dir-cache-time=0s"], plain),
        ):
            command = [_RCLONE, "serve", *command, f"--addr=127.0.0.1:{port}"]
            process = stack.enter_context(start(name, command, env=env, logs=logs, cwd=directory))
            wait_until(lambda port=port: accepts_connections(port), f"rclone serve {name}", 30, process)  # type: ignore[misc]
        api_url, public_url = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{public}"
        yield ObjectStore(directory, api_url, access_key, secret_key, bucket.name, public_url)
