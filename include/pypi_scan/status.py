"""The status of one package in one scan: the line that `packages.jsonl.zst` holds for every input package."""

from typing import Annotated, Literal, get_args

import msgspec

from pypi_scan.record import Count

Status = Literal[
    "ok", "no_release", "missing_file", "timeout", "memory", "crash", "corrupt", "too_large", "skipped", "rejected"
]
STATUSES: tuple[str, ...] = get_args(Status)


class ScannedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A distribution file of the scanned release; `path` is relative to the mirror's ``web/``, `size` in bytes."""

    path: str
    sha256: str
    size: Count


class PackageStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the scan of one package ended. `reason` is a sentence unless `status` is ok; times in seconds.

    ``rejected`` is what no worker says: the control host did, of a package whose record is not as the schema has it.

    `bytes` is the size of the distribution files that were there to be scanned, as downloaded.
    """

    name: str
    version: str | None
    status: Status
    reason: str | None
    record: bool = False
    seconds: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    cpu_seconds: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    peak_memory_bytes: Count = 0
    bytes: Count = 0
    detections: Count = 0
    score: Annotated[int, msgspec.Meta(gt=-(2**53), lt=2**53)] = 0
    files: list[ScannedFile] = []
