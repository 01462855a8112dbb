"""The plan of a global scan: its input packages, the release of each, and shards of about equal cost.

A plan is a directory, ``<scans_dir>/<scan_id>/``:

- ``plan.json``: a `Plan`;
- ``aura_dataset.tgz``: what Aura is to know of PyPI (downloads, reverse dependencies), the same for every shard; it may
  be missing;
- ``input_packages.txt``: the packages the scan was asked for, sorted, one a line;
- ``unscannable.jsonl``: a `PackageStatus` line for each input package that no shard holds (no release, bad metadata);
- ``shards/0001.jsonl.zst``: one line a package, sorted by name: ``{"name", "version", "files": [{"path", "sha256",
  "size", "upload_time"}], "json"}``. ``path`` is relative to the mirror's ``web/``. ``json`` is PyPI's document cut
  down to what Aura reads: ``info.version`` is the chosen version, ``releases`` and ``urls`` hold that release alone.
"""

import fnmatch
import heapq
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import zstandard

from pypi_scan.datasets.layout import AURA_DATASET
from pypi_scan.files import atomic_write, atomic_write_text
from pypi_scan.mirror import Mirror, MirrorError, PackageDocument, ReleaseFile
from pypi_scan.names import HostileInputError, canonical_name, check_sha256, mirror_path
from pypi_scan.progress import with_progress
from pypi_scan.release import NotYetPublished, Release, latest_release, uploaded_at
from pypi_scan.scan_request import ScanRequest
from pypi_scan.status import PackageStatus

log = logging.getLogger(__name__)

SHARD_CPU_SECONDS = 4 * 3600  # about half an hour on a worker of eight cores
MAX_SHARDS = 1000  # mapped tasks that Airflow's scheduler and web UI still handle comfortably
SCAN_ID = re.compile(r"\d{4}-\d{2}-\d{2}(-\d{1,3})?", re.ASCII)
_GLOB = re.compile(r"[*?\[]")
SHARD_ID = re.compile(r"\d{4}", re.ASCII)


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
    shards: list[str]
    input: int
    planned: int
    files: int
    bytes: int


class _PlannedFor(msgspec.Struct, frozen=True):
    """What of ``plan.json`` stays as it is from release to release."""

    scan_id: str
    run_id: str


class _Entry(NamedTuple):
    """Where the shard line of a package lies in the spool file, and its predicted cost in CPU seconds."""

    cost: float
    name: str
    offset: int
    length: int


@dataclass
class _Draft:
    """What of a mirror goes into a scan: input packages, those of them that cannot be scanned, and the others."""

    inputs: list[str] = field(default_factory=list)
    unscannable: list[PackageStatus] = field(default_factory=list)
    entries: list[_Entry] = field(default_factory=list)
    files: int = 0
    bytes: int = 0


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

    Planning again for the same `run_id` overwrites its plan and removes what results its shards had; `taken` are scan
    ids of which anything is public already. Raises PlanError if a name or pattern matches nothing, no package is left
    to scan or the mirror was never synced.
    """
    as_of = request.as_of.astimezone(UTC).replace(microsecond=0)  # what the plan says, so that it can be had again
    try:
        names = _select(mirror.package_names(), request)
    except MirrorError as error:
        raise PlanError(f"{error}; run the DAG pypi_sync first") from error
    scans_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scans_dir) as spool:
        draft = _draft(mirror, names, as_of, spool)
        if not draft.entries:
            raise PlanError(
                f"none of the {len(names)} packages asked for had a release to scan as of "
                f"{as_of:%Y-%m-%d %H:%M} UTC; check as_of and packages"
            )
        scan_id = _claim_scan_id(scans_dir, as_of, run_id, taken)
        directory = scans_dir / scan_id
        directory.mkdir(exist_ok=True)
        shutil.rmtree(directory / "results", ignore_errors=True)  # of the shards of an earlier plan
        _copy_dataset(aura_dataset, directory / AURA_DATASET)
        shards = list(_write_shards(spool, draft.entries, request.shards, directory / "shards"))

    atomic_write_text(directory / "input_packages.txt", "".join(f"{name}\n" for name in draft.inputs))
    with atomic_write(directory / "unscannable.jsonl") as file:
        file.writelines(msgspec.json.encode(status) + b"\n" for status in draft.unscannable)
    plan = Plan(
        scan_id=scan_id,
        as_of=_iso_8601(as_of),
        run_id=run_id,
        partial=bool(request.packages or request.limit),
        mirror_serial=mirror.serial(),
        shards=shards,
        input=len(draft.inputs),
        planned=len(draft.entries),
        files=draft.files,
        bytes=draft.bytes,
    )
    atomic_write_text(directory / "plan.json", msgspec.json.format(msgspec.json.encode(plan)).decode() + "\n")
    log.info(
        "plan of scan %s: %d input packages, %d to scan in %d shards, %d files, %.1f MB",
        scan_id, plan.input, plan.planned, len(shards), plan.files, plan.bytes / 1e6,
    )  # fmt: skip
    return plan


def read_plan(directory: Path) -> Plan:
    """Read the plan in a scan's directory; raises PlanError if there is none."""
    return _read(directory, Plan)


def planned_scan_ids(scans_dir: Path, run_id: str) -> list[str]:
    """Return the ids of the scans that were planned for a run, by whatever version of this code; raises PlanError."""
    plans = (_read(path.parent, _PlannedFor) for path in scans_dir.glob("*/plan.json"))
    return sorted(plan.scan_id for plan in plans if plan.run_id == run_id)


def predicted_cost(files: int, size: int) -> float:
    """Return a guess of the CPU seconds of a package from its number of files and their bytes together.

    A second to open a file, twenty a megabyte: the medians of stock Aura on small packages; above 20 MB most of a
    file is data that costs little.
    """
    return files + 20.0 * min(size, 20_000_000) / 1e6


def balance(costs: Sequence[tuple[float, str]], shards: int) -> list[list[str]]:
    """Divide names among `shards` groups of about equal cost: longest first, each to the group that has least.

    Same input, same groups, whatever the order of `costs`. Groups may be empty if there are fewer names than groups.
    """
    groups: list[list[str]] = [[] for _ in range(shards)]
    loads = [(0.0, index) for index in range(shards)]
    for cost, name in sorted(costs, key=lambda item: (-item[0], item[1])):
        load, index = heapq.heappop(loads)
        groups[index].append(name)
        heapq.heappush(loads, (load + cost, index))
    return groups


def _read[Part](directory: Path, part: type[Part]) -> Part:
    try:
        return msgspec.json.decode((directory / "plan.json").read_bytes(), type=part)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PlanError(f"{directory} holds no readable plan: {error}") from error


def _copy_dataset(source: Path | None, target: Path) -> None:
    target.unlink(missing_ok=True)
    if source is None or not source.exists():
        log.warning("there is no aura_dataset yet: findings will lack typosquatting and reverse dependencies")
        return
    with source.open("rb") as content, atomic_write(target) as copy:
        shutil.copyfileobj(content, copy)


def _draft(mirror: Mirror, names: Iterable[str], as_of: datetime, spool: BinaryIO) -> _Draft:
    """Choose the release of each package; the shard lines go to `spool`, as 700,000 of them are a few gigabytes."""
    draft = _Draft()
    for name in with_progress(names, "planning, packages read"):
        try:
            document = mirror.document(name)
            release = latest_release(document, as_of)
            files = [_checked_file(file) for file in release.files] if release else []
        except NotYetPublished:
            continue
        except (MirrorError, HostileInputError, ValueError) as error:
            draft.inputs.append(name)
            draft.unscannable.append(PackageStatus(name, None, "skipped", f"bad metadata: {error!s:.300}"))
            continue
        draft.inputs.append(name)
        if release is None:
            draft.unscannable.append(PackageStatus(name, None, "no_release", _why_no_release(document, as_of)))
            continue
        line = msgspec.json.encode(_shard_line(name, document, release, files)) + b"\n"
        size = sum(file["size"] for file in files)
        draft.entries.append(_Entry(predicted_cost(len(files), size), name, spool.tell(), len(line)))
        draft.files += len(files)
        draft.bytes += size
        spool.write(line)
    return draft


def _select(names: list[str], request: ScanRequest) -> list[str]:
    """Return the names that a request asks for; raises PlanError if one of its names or patterns matches nothing."""
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


def _checked_file(file: ReleaseFile) -> dict[str, Any]:
    if not 0 <= file.size < 2**40:
        raise HostileInputError(f"size of {file.size} bytes for {file.filename!r:.120}")
    return {
        "path": mirror_path(file.url),
        "sha256": check_sha256(file.digests.get("sha256", "")),
        "size": file.size,
        "upload_time": _iso_8601(uploaded_at(file)),
    }


def _iso_8601(time: datetime) -> str:
    """Return a time in UTC to the second; ``strftime`` leaves out the zeros of years before 1000."""
    return time.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _shard_line(name: str, document: PackageDocument, release: Release, files: list[dict[str, Any]]) -> dict[str, Any]:
    trimmed = [
        {
            "filename": checked["path"].rpartition("/")[2],
            "url": "/" + checked["path"],
            "packagetype": file.packagetype,
            "python_version": file.python_version,
            "md5_digest": file.md5_digest or file.digests.get("md5"),
            "digests": {"sha256": checked["sha256"]},
            "size": file.size,
            "upload_time_iso_8601": checked["upload_time"],
        }
        for file, checked in zip(release.files, files, strict=True)
    ]
    info = {**msgspec.to_builtins(document.info), "version": release.version}
    return {
        "name": name,
        "version": release.version,
        "files": files,
        "json": {"info": info, "releases": {release.version: trimmed}, "urls": trimmed},
    }


def _why_no_release(document: PackageDocument, as_of: datetime) -> str:
    files = [file for release in document.releases.values() for file in release if uploaded_at(file) <= as_of]
    if not files:
        return "no file was ever uploaded"
    if all(file.yanked for file in files):
        return "every file is yanked"
    return "no release that is not yanked has a version that PEP 440 knows"


def _write_shards(spool: BinaryIO, entries: list[_Entry], wanted: int | None, directory: Path) -> Iterator[str]:
    """Write one file a shard and yield the ids; at most one shard is in memory at a time."""
    count = wanted or math.ceil(sum(entry.cost for entry in entries) / SHARD_CPU_SECONDS)
    count = min(count, len(entries), MAX_SHARDS)
    where = {entry.name: entry for entry in entries}
    for old in directory.glob("*.jsonl.zst"):
        old.unlink()
    for number, names in enumerate(balance([entry[:2] for entry in entries], count), start=1):
        shard_id = f"{number:04}"
        with (
            atomic_write(directory / f"{shard_id}.jsonl.zst") as file,
            zstandard.ZstdCompressor(level=10).stream_writer(file, closefd=False) as compressed,
        ):
            for name in sorted(names):
                spool.seek(where[name].offset)
                compressed.write(spool.read(where[name].length))
        yield shard_id
