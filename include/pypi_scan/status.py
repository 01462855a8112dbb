"""The status of one package in one scan: the line that `packages.jsonl.zst` holds for every input package."""

from typing import Annotated, Literal, get_args

import msgspec

from pypi_scan.record import Count

Status = Literal[
    "ok", "reused", "no_release", "missing_file", "timeout", "memory", "crash", "corrupt", "too_large", "skipped",
    "rejected",
]  # fmt: skip
STATUSES: tuple[str, ...] = get_args(Status)
COMPLETE = ("ok", "reused")  # with a record of all there is, and no reason

type Seconds = Annotated[float, msgspec.Meta(ge=0.0, lt=1e9)]


class ScannedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A distribution file of the scanned release; `path` is relative to the mirror's ``web/``, `size` in bytes."""

    path: str
    sha256: str
    size: Count


class PackageStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the scan of one package ended. `reason` is a sentence unless `status` is ok or reused; times in seconds.

    Two are what no worker says, but the control host: ``reused`` of a package whose record an earlier scan made of the
    same release with the same scanner, with the times and memory of that scan, and ``rejected`` of one whose record is
    not as the schema has it.

    `bytes` is the size of the distribution files that were there to be scanned, as downloaded.
    """

    name: str
    version: str | None
    status: Status
    reason: Annotated[str, msgspec.Meta(max_length=2000)] | None
    record: bool = False
    seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0
    peak_memory_bytes: Count = 0
    bytes: Count = 0
    detections: Count = 0
    score: Annotated[int, msgspec.Meta(gt=-(2**53), lt=2**53)] = 0
    files: list[ScannedFile] = []
