"""What has to hold after every fault: the dataset is whole, and nothing is left behind."""

import fcntl
import hashlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import zstandard
from botocore.exceptions import ClientError

from .faulty_world import FaultyWorld, Run

SAME_BYTES = ("dataset.zst", "package_list.txt", "input_packages.txt")
_VARY = {"seconds", "cpu_seconds", "peak_memory_bytes"}
_AFTER_THE_FIRST = {"changes.jsonl.zst", "changes.html"}
_TEMPORARY = re.compile(r"\..+\.\w{8}|.*\.(part|partial|tmp)")  # those of pypi_scan.files first
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Published:
    """What is public of one scan."""

    digests: dict[str, str]
    statuses: list[dict[str, Any]]
    names: set[str]


def published(where: FaultyWorld, scan_id: str) -> Published:
    """Read a scan from the CDN; fails unless every package of it has one status, and one record if it has any."""
    directory = where.world.root / "cdn" / "pypi_datasets" / scan_id
    statuses = json_lines(directory / "packages.jsonl.zst")
    wanted = (directory / "input_packages.txt").read_text().splitlines()
    assert Counter(status["name"] for status in statuses) == Counter(wanted), "not one status for each package"
    records = Counter(record["pypi"]["name"] for record in json_lines(directory / "dataset.zst"))
    assert records == Counter((directory / "package_list.txt").read_text().splitlines()), "not one record a package"
    return Published(
        {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in SAME_BYTES},
        [{key: value for key, value in status.items() if key not in _VARY} for status in statuses],
        {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()},
    )


def check_dataset(where: FaultyWorld, scan_id: str, reference: Published) -> None:
    """Fail unless a scan is public with the same dataset as the undisturbed one, and under the same names."""
    found = published(where, scan_id)
    differ = [pair for pair in zip(found.statuses, reference.statuses, strict=True) if pair[0] != pair[1]]
    assert not differ, f"statuses of packages differ from those of the undisturbed scan: {differ}"
    assert found.digests == reference.digests, "other bytes than those of the undisturbed scan"
    names = (found.names ^ reference.names) - _AFTER_THE_FIRST
    assert not names, f"names that only one of this and the undisturbed scan has: {names}"


def check_nothing_is_left(where: FaultyWorld, run: Run, public: set[str]) -> None:
    """Fail if a process, file, lock or upload of a run that has ended is still there; `public` are all public scans."""
    eventually_none(where.orphans, "orphan processes")
    root = where.world.root
    names = {path.name for path in (root / "cdn" / "pypi_datasets").iterdir()}
    half = names - public - {"latest", "index"}
    assert not half, f"half-published scans: {half}"
    unfinished = uploads(where)
    assert not unfinished, f"uploads neither completed nor aborted: {unfinished}"
    assert not (where.work_dir / "scans" / run.scan_id).exists(), "the worker's disk was not freed"
    directories = [root / "scans" / run.scan_id, root / "state", root / "mirror", root / "cdn", where.work_dir]
    temporary = [str(path) for top in directories for path in top.rglob("*") if is_temporary(path)]
    assert not temporary, f"temporary files: {temporary}"
    eventually_none(lambda: [str(path) for top in directories for path in held_locks(top)], "locks")


def uploads(where: FaultyWorld) -> list[str]:
    """Return the keys of multipart uploads that were begun and neither completed nor aborted."""
    store = where.world.store
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
    )
    try:
        found = client.list_multipart_uploads(Bucket=store.bucket)
    except ClientError as error:
        # NoSuchUpload is what rclone's server says of a bucket that never had an upload in parts.
        if error.response["Error"]["Code"] == "NoSuchUpload":
            return []
        raise
    return [upload["Key"] for upload in found.get("Uploads", [])]


def held_locks(top: Path) -> list[Path]:
    """Return the lock files below `top` that some process holds."""
    held = []
    for path in top.rglob("*lock*"):
        if path.is_file():
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.append(path)
    return held


def is_temporary(path: Path) -> bool:
    """Whether a file has a name that it is to lose once it is whole."""
    return bool(_TEMPORARY.fullmatch(path.name)) or path.parent.name == "incoming"


def eventually_none(look: Callable[[], Collection[object]], what: str, seconds: float = _PATIENCE_SECONDS) -> None:
    """Fail if `look` still finds anything after so many seconds; `what` says what it looks for."""
    deadline = time.monotonic() + seconds
    while found := look():
        assert time.monotonic() < deadline, f"{what}: {found}"
        time.sleep(0.2)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a file of JSON lines, compressed with zstd."""
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return [json.loads(line) for line in io.TextIOWrapper(reader, encoding="utf-8")]
