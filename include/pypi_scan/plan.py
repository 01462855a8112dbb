"""The plan of a global scan: its input packages, and the release of each that is scanned.

A plan is a directory, ``<scans_dir>/<scan_id>/``:

- ``plan.json``: a `Plan`;
- ``aura_dataset.tgz``: what Aura is to know of PyPI (downloads, reverse dependencies), the same for every shard; it may
  be missing;
- ``input_packages.txt``: the packages the scan was asked for, sorted, one a line;
- ``unscannable.jsonl``: a `PackageStatus` line for each input package that is not scanned (no release, bad metadata);
- ``releases.jsonl.zst``: the releases to scan, in blocks; see `pypi_scan.shard`.
"""

import fnmatch
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path

import msgspec

from pypi_scan.choose import Chosen, iso_8601
from pypi_scan.choosers import ChoosersError, choose_all, cores_for
from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.files import atomic_write, atomic_write_text
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.names import HostileInputError, canonical_name
from pypi_scan.progress import with_progress
from pypi_scan.scan_request import ScanRequest
from pypi_scan.shard import block_size, compressed_lines

log = logging.getLogger(__name__)

SCAN_ID = re.compile(r"\d{4}-\d{2}-\d{2}(-\d{1,3})?", re.ASCII)
INPUT_PACKAGES = "input_packages.txt"
UNSCANNABLE = "unscannable.jsonl"
RELEASES = "releases.jsonl.zst"
_GLOB = re.compile(r"[*?\[]")


class PlanError(Exception):
    """The scan cannot be planned as asked. The message says why and what to do."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``plan.json`` holds. `as_of` is ISO 8601 in UTC; `run_id` is the Airflow run the plan belongs to.

    A scan that was asked for some packages, or for so many, is `partial`.
    """

    scan_id: str
    as_of: str
    run_id: str
    partial: bool
    mirror_serial: int
    input: int
    planned: int
    files: int
    bytes: int


class _PlannedFor(msgspec.Struct, frozen=True):
    """What of ``plan.json`` stays as it is from release to release."""

    scan_id: str
    run_id: str


@dataclass
class _Counts:
    """How much of a mirror goes into a scan; `bytes` of all files of the releases that are scanned."""

    input: int = 0
    planned: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, part: Chosen) -> None:
        self.input += len(part.names)
        self.planned += len(part.releases)
        self.files += part.files
        self.bytes += part.bytes


def plan_scan(
    mirror: Mirror,
    request: ScanRequest,
    scans_dir: Path,
    run_id: str,
    *,
    taken: Sequence[str] = (),
    aura_dataset: Path | None = None,
) -> Plan:
    """Write the plan of a scan and return it. `aura_dataset` is copied into it, if it exists.

    Planning again for the same `run_id` overwrites its plan and removes all that was made of it; `taken` are scan ids
    of which anything is public already. Raises PlanError if a name or pattern matches nothing, no package is left to
    scan, the mirror was never synced or a process that reads it died.
    """
    as_of = request.as_of.astimezone(UTC).replace(microsecond=0)  # what the plan says, so that it can be had again
    names = select_packages(mirror, request)
    scans_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scans_dir, prefix=".plan-") as temporary:
        try:
            counts = _write_draft(mirror, names, as_of, Path(temporary))
        except ChoosersError as error:
            raise PlanError(str(error)) from error
        if not counts.planned:
            raise nothing_to_scan(len(names), as_of)
        scan_id = _claim_scan_id(scans_dir, as_of, run_id, taken)
        directory = scans_dir / scan_id
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name in (INPUT_PACKAGES, UNSCANNABLE, RELEASES):
            (Path(temporary) / name).replace(directory / name)
    _copy_dataset(aura_dataset, directory / AURA_DATASET)
    plan = Plan(
        scan_id=scan_id,
        as_of=iso_8601(as_of),
        run_id=run_id,
        partial=bool(request.packages or request.limit),
        mirror_serial=mirror.serial(),
        input=counts.input,
        planned=counts.planned,
        files=counts.files,
        bytes=counts.bytes,
    )
    atomic_write_text(directory / "plan.json", msgspec.json.format(msgspec.json.encode(plan)).decode() + "\n")
    log.info(
        "plan of scan %s: %d input packages, %d to scan, %d files, %.1f MB",
        scan_id, plan.input, plan.planned, plan.files, plan.bytes / 1e6,
    )  # fmt: skip
    return plan


def select_packages(mirror: Mirror, request: ScanRequest) -> list[str]:
    """Return the names that a request asks for, sorted.

    Raises PlanError if one of its names or patterns matches nothing, or the mirror was never synced.
    """
    try:
        names = mirror.package_names()
    except MirrorError as error:
        raise PlanError(f"{error}; run the DAG pypi_sync first") from error
    if request.packages:
        known = set(names)
        chosen: set[str] = set()
        for text in request.packages:
            wanted = _canonical_pattern(text)
            matching = fnmatch.filter(names, wanted) if _GLOB.search(wanted) else known & {wanted}
            if not matching:
                raise PlanError(f"packages: the mirror has none that is named, or matches, {text!r:.255}")
            chosen.update(matching)
        names = sorted(chosen)
    return names[: request.limit]


def nothing_to_scan(asked: int, as_of: datetime) -> PlanError:
    """Return the error of a scan that asked for so many packages, none of which had a release."""
    return PlanError(
        f"none of the {asked} packages asked for had a release to scan as of {as_of:%Y-%m-%d %H:%M} UTC; "
        "check as_of and packages"
    )


def read_plan(directory: Path) -> Plan:
    """Read the plan in a scan's directory; raises PlanError if there is none."""
    return _read(directory, Plan)


def planned_scan_ids(scans_dir: Path, run_id: str) -> list[str]:
    """Return the ids of the scans that were planned for a run, by whatever version of this code; raises PlanError."""
    plans = (_read(path.parent, _PlannedFor) for path in scans_dir.glob("*/plan.json"))
    return sorted(plan.scan_id for plan in plans if plan.run_id == run_id)


def _read[Part](directory: Path, part: type[Part]) -> Part:
    try:
        return msgspec.json.decode((directory / "plan.json").read_bytes(), type=part)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PlanError(f"{directory} holds no readable plan: {error}") from error


def _copy_dataset(source: Path | None, target: Path) -> None:
    if source is None or not source.exists():
        log.warning("there is no aura_dataset yet: findings will lack typosquatting and reverse dependencies")
        return
    with source.open("rb") as content, atomic_write(target) as copy:
        shutil.copyfileobj(content, copy)


def _write_draft(mirror: Mirror, names: Sequence[str], as_of: datetime, directory: Path) -> _Counts:
    """Write the lists of a plan into `directory`; a few thousand packages at a time are in memory.

    Raises ChoosersError.
    """
    counts, size = _Counts(), block_size(len(names))
    waiting: list[bytes] = []
    with (
        atomic_write(directory / INPUT_PACKAGES) as inputs,
        atomic_write(directory / UNSCANNABLE) as unscannable,
        atomic_write(directory / RELEASES) as releases,
        closing(choose_all(mirror, names, as_of, cores_for(len(names)))) as parts,
    ):
        for part in with_progress(parts, "planning, thousands of packages read"):
            inputs.writelines(f"{name}\n".encode("ascii") for name in part.names)
            unscannable.writelines(part.unscannable)
            counts.add(part)
            waiting += part.releases
            full = len(waiting) - len(waiting) % size
            releases.writelines(compressed_lines(block) for block in batched(waiting[:full], size))
            del waiting[:full]
        if waiting:
            releases.write(compressed_lines(waiting))
    return counts


def _canonical_pattern(text: str) -> str:
    """Return a name in canonical form; a glob pattern only in lower case with ``-`` for ``_`` and ``.``."""
    try:
        return canonical_name(text)
    except HostileInputError:
        return re.sub(r"[-_.]+", "-", text).lower()


def _claim_scan_id(scans_dir: Path, as_of: datetime, run_id: str, taken: Sequence[str]) -> str:
    """Return the as-of date, with ``-2``, ``-3`` ... where other runs scanned that date already."""
    date = as_of.date().isoformat()
    for number in range(1, 1000):
        scan_id = date if number == 1 else f"{date}-{number}"
        directory = scans_dir / scan_id
        if scan_id not in taken and (
            not (directory / "plan.json").exists() or _read(directory, _PlannedFor).run_id == run_id
        ):
            return scan_id
    raise PlanError(f"{date} was scanned 999 times already; remove some of {scans_dir}/{date}-*")
