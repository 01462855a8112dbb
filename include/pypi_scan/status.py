"""The status of one package in one scan: the line that `packages.jsonl.zst` holds for every input package."""

from typing import Literal, get_args

import msgspec

Status = Literal["ok", "no_release", "missing_file", "timeout", "memory", "crash", "corrupt", "too_large", "skipped"]
STATUSES: tuple[str, ...] = get_args(Status)


class ScannedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A distribution file of the scanned release; `path` is relative to the mirror's ``web/``, `size` in bytes."""

    path: str
    sha256: str
    size: int


class PackageStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the scan of one package ended. `reason` is a sentence unless `status` is ok; times in seconds.

    `bytes` is the size of the distribution files that were there to be scanned, as downloaded.
    """

    name: str
    version: str | None
    status: Status
    reason: str | None
    record: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    bytes: int = 0
    detections: int = 0
    score: int = 0
    files: list[ScannedFile] = []
