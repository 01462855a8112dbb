"""The status of one package in one scan: the line that `packages.jsonl.zst` holds for every input package."""

from typing import Annotated, Literal, get_args

import msgspec

from pypi_scan.record import Count

Status = Literal[
    "ok", "reused", "no_release", "missing_file", "timeout", "memory", "crash", "corrupt", "too_large", "skipped",
    "rejected",
]  # fmt: skip
STATUSES: tuple[str, ...] = get_args(Status)
ABOUT_STATUS: dict[str, str] = {
    "ok": "scanned whole, with a record",
    "reused": "an earlier scan had this release and this scanner: the record, times and memory are from it",
    "no_release": "nothing to scan: no file, every file is yanked, or no version that PEP 440 knows",
    "missing_file": "files of the release are not in the mirror",
    "timeout": "the scan was ended, as it took more time than a package may",
    "memory": "the scan was ended, as it took more memory than a package may, or the worker had no more",
    "crash": "the scanner died of it",
    "corrupt": "an archive is damaged; the record is of what could be read",
    "too_large": "unpacks to more than a package may; the record, if there is one, is of what was unpacked",
    "skipped": "a file is no archive that can be unpacked, or the package's metadata cannot be used",
    "rejected": "the record did not fit the schema or quoted a secret, and was left out",
}
"""What each status says."""
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
