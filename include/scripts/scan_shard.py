"""Scan the packages of one shard with Aura.

A parent process loads Aura once and forks a child for every package, a few at a time, the costly ones first. A child
that takes too long, too much memory or fails otherwise is one package lost, never more. A run that was killed goes on
where it was when it is started again. The results appear in OUTPUT at the end, each file whole: ``records.jsonl.zst``,
``status.jsonl``, ``joblog.txt``, ``known.jsonl`` and ``scanner.json``; ``OUTPUT/.work`` holds what is under way.

Of a known package, whose record the control host has, no file is scanned. What Aura says of the package as such changes
with the aura_dataset: this alone is found anew, and is in ``known.jsonl``, one line a known package, sorted by name:
``{"detections": [...], "name": "..."}``, or ``{"detections": null, "name": "...", "reason": "<sentence>"}``.
"""

import argparse
import functools
import gc
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import cores
import cost
import exit_codes
import isolation
import joblog
import jsonl
import outcome
import program
import records
import scanner_identity
from cores import Cores
from datasets import load_datasets
from journal import Journal, sync
from mirror_view import visible_document
from outcome import Outcome
from pool import Ended, ForkPool, Limits
from program import ProgramError
from progress import Progress, add_progress_option
from redaction import Key
from shard import Package, ReleaseFile, read_shard

NEARLY = 0.95  # of the memory a child may use: so much is taken to be all of it
# Fewer packages than this, all crashed, are bad luck; from here on the scanner itself is taken to be broken.
SUSPICIOUS = 5
# With less on the disk, one that is full is no package's doing. No package unpacks to more.
ROOM = 2 * 1024**3
# Fixed before Python starts: the order of sets, and that text is UTF-8, on whatever machine this is.
_PYTHON = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
_RESULTS = ("records.jsonl.zst", "status.jsonl", "joblog.txt", "known.jsonl", "scanner.json")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A package, the files of it that are there (of a known one all), and a directory of its own to work in."""

    package: Package
    files: tuple[ReleaseFile, ...]
    directory: Path

    @property
    def temporary(self) -> Path:
        return self.directory / "tmp"

    @property
    def record(self) -> Path:
        return self.directory / "record.part"

    @property
    def outcome(self) -> Path:
        return self.directory / "outcome.part"


class Workspace:
    """What lies in the output directory: the journal and finished records while a scan is under way, then the results.

    Raises OSError if `output` cannot be written to.
    """

    def __init__(self, output: Path, subject: dict[str, Any]) -> None:
        self._output = output
        self._work = output / ".work"
        self._jobs = self._work / "jobs"
        self._records = self._work / "records"
        _remove(self._jobs)
        self._work.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(self._work / "journal.jsonl", subject)

    def finished(self, total: int) -> bool:
        """Return whether an earlier run has written the results of all `total` packages."""
        whole = len(self._journal.entries) == total and not self._records.exists()
        return whole and all((self._output / name).is_file() for name in _RESULTS)

    def resume(self) -> set[str]:
        """Make ready to scan; return the names of the packages that an earlier run has finished."""
        self._jobs.mkdir()
        self._records.mkdir(exist_ok=True)
        entries = self._journal.entries
        if not all(self._record(name).is_file() for name in map(_name, filter(_has_line, entries))):
            log.warning("records of an earlier run are gone: everything is scanned again")
            self.start_anew()
            return set()
        return set(map(_name, entries))

    def start_anew(self) -> None:
        """Forget what earlier runs have finished."""
        self._journal.start_anew()

    def job(self, package: Package, web: Path) -> Job:
        """Return what a child needs to scan `package` from the mirror tree in `web`."""
        files = () if package.refused else package.files
        if not package.known:
            files = tuple(file for file in files if _size(web / file.path) == file.size)
        return Job(package, files, self._jobs / f"{package.seq:06d}")

    def keep(self, job: Job, result: Outcome, ended: Ended | None, record: dict[str, Any] | None) -> None:
        """Take over the record, if there is one, and note that the package is finished."""
        package = job.package
        size = self._take_over(job) if record is not None else 0
        status = {
            "name": jsonl.clean(package.name),
            "version": package.version,
            "status": result.status,
            "reason": result.reason,
            "record": record is not None,
            "seconds": round(ended.seconds, 3) if ended else 0.0,
            "cpu_seconds": round(ended.cpu_seconds, 3) if ended else 0.0,
            "peak_memory_bytes": ended.peak_memory_bytes if ended else 0,
            "bytes": sum(file.size for file in job.files),
            "detections": len(record["detections"]) if record is not None else 0,
            "score": record["score"] if record is not None else 0,
            "files": [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in package.files],
        }
        row = joblog.row(package.seq, package.name, ended, size) if ended else None
        self._journal.append({"status": status, "joblog": row, "block": package.block})
        self.clear(job)

    def keep_known(self, job: Job, result: Outcome) -> None:
        """Take over the line of a known package if all went well, and note that the package is finished."""
        if result.status == "ok":
            self._take_over(job)
        known = {"name": jsonl.clean(job.package.name), "status": result.status, "reason": result.reason}
        self._journal.append({"known": known})
        self.clear(job)

    def clear(self, job: Job) -> None:
        """Remove what a child has left."""
        _remove(job.directory)

    def crashes(self) -> list[str]:
        """Return the reasons of the crashes if every package that was tried has crashed, else nothing."""
        entries = self._journal.entries
        tried = [_subject(entry) for entry in entries if "known" in entry or entry["joblog"] is not None]
        crashed = [str(status["reason"]) for status in tried if status["status"] == "crash"]
        return crashed if len(crashed) == len(tried) else []

    def write_results(self, scanner: dict[str, Any], threads: int) -> None:
        """Write the five result files; `scanner` is the content of the last. `threads` compress the records."""
        entries = sorted(self._journal.entries, key=_name)
        scanned = [entry for entry in entries if "status" in entry]
        blocks = groupby(filter(_has_line, scanned), key=lambda entry: int(entry["block"]))
        frames = records.pack((map(self._line, block) for _, block in blocks), threads)
        jsonl.write_atomic(self._output / "records.jsonl.zst", frames)
        jsonl.write_atomic(self._output / "status.jsonl", (jsonl.line(entry["status"]) for entry in scanned))
        rows = [entry["joblog"] for entry in self._journal.entries if entry.get("joblog") is not None]
        jsonl.write_atomic(self._output / "joblog.txt", (row.encode() for row in (joblog.HEADER, *rows)))
        known = (entry for entry in entries if "known" in entry)
        jsonl.write_atomic(self._output / "known.jsonl", map(self._line, known))
        jsonl.write_atomic(self._output / "scanner.json", [jsonl.line(scanner)])

    def close(self) -> None:
        """Remove the single records: the results hold them now."""
        self._records.replace(self._jobs / "records")  # at once, so that a run that is killed here counts as finished
        _remove(self._jobs)

    def _take_over(self, job: Job) -> int:
        """Keep the line that a child left; return its size in bytes."""
        size = job.record.stat().st_size
        sync(job.record)  # a line is on the disk, with its name, before the journal says so
        job.record.replace(self._record(job.package.name))
        sync(self._records)
        return size

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _line(self, entry: dict[str, Any]) -> bytes:
        """Return the record of a package, or what ``known.jsonl`` says of it."""
        if _has_line(entry):
            return self._record(_name(entry)).read_bytes()
        return jsonl.line({"detections": None, "name": _name(entry), "reason": _subject(entry)["reason"]})


def scan_packages(
    packages: list[Package],
    workspace: Workspace,
    pool: ForkPool[Job],
    web: Path,
    progress: Progress,
    turn: ExitStack,
) -> None:
    """Scan `packages` from the mirror tree in `web`; everything is in `workspace` when this returns.

    Closes `turn` as soon as the last package is started.
    """
    scans = []
    for package in packages:
        job = workspace.job(package, web)
        result = outcome.before_scan(package, job.files)
        if result is None:
            scans.append(job)
        else:
            _report(workspace, progress, job, result)
    scans.sort(key=lambda job: cost.predicted(job.package, job.files), reverse=True)
    put_off = set()
    for event in pool.run(scans):
        if not pool.waiting:
            turn.close()
        if event is None:
            progress.tick()
            continue
        job, ended = event
        if ended.postponed:
            log.info("package %d: put off, memory is short", job.package.seq)
            workspace.clear(job)
            continue
        result = outcome.of_child(ended, pool.limits, job.outcome)
        record = None
        if result.record:
            try:
                if job.package.known:
                    outcome.check_known(job.record, job.package.name)
                else:
                    record = outcome.read_record(job.record, job.package.name)
            except outcome.NoRecordError as error:
                result = error.outcome
            else:
                if len(job.files) < len(job.package.files):
                    result = outcome.missing_files(job.package, job.files)
        if result.doubtful:
            workspace.clear(job)
            if result.status == "too_large":
                _check_room(job.directory.parent)
            if job.package.seq not in put_off:
                log.info("package %d: %s, is tried once more", job.package.seq, result.status)
                put_off.add(job.package.seq)
                pool.put_off(job)
                continue
        _report(workspace, progress, job, result, ended, record)


def _check_room(directory: Path) -> None:
    if (free := shutil.disk_usage(directory).free) < ROOM:
        raise ProgramError(
            f"the disk is full, {free:,} bytes are free; free some space and run the same command again, which goes on "
            "where this one stopped",
            exit_codes.OUT_OF_ROOM,
        )


def scan_in_child(engine: ModuleType, web: Path, unconfined: Collection[str], key: Key | None, job: Job) -> None:
    """Scan one package, in a process of its own, and leave its line and the outcome in the directory of `job`.

    The line is the record, or of a known package that of ``known.jsonl``; with a `key` neither quotes secrets, nor does
    the outcome. `unconfined` names what the kernel refuses of what isolation.py shuts it in with. Raises what Aura
    raises, after leaving the outcome.
    """
    job.temporary.mkdir(parents=True)
    os.chdir(job.directory)
    tempfile.tempdir = str(job.temporary)
    try:
        isolation.confine(job.directory, unconfined)
        make_line = _known_line if job.package.known else _record
        line, result = make_line(engine, web, key, job)
        job.record.write_bytes(jsonl.line(line))
        result.write(job.outcome)
    except BaseException as error:
        outcome.of_error(error, (web, job.temporary), key).write(job.outcome)
        raise


def _record(engine: ModuleType, web: Path, key: Key | None, job: Job) -> tuple[dict[str, Any], Outcome]:
    found = engine.scan(job.package.name, visible_document(job.package, job.files))
    if peak_memory() > NEARLY * resource.getrlimit(resource.RLIMIT_AS)[0]:
        # Aura takes a file that it has no memory to parse for one that cannot be parsed, and goes on.
        raise MemoryError("parts of the scan may have failed for want of it")
    places = records.Places(web, job.temporary, found.unpacked)
    record = records.make_record(job.package, job.files, found.output, places, engine.to_json, key)
    return record, outcome.of_record(record, job.files)


def _known_line(engine: ModuleType, web: Path, key: Key | None, job: Job) -> tuple[dict[str, Any], Outcome]:
    document = visible_document(job.package, job.files)
    found = engine.look_at_package(job.package.name, document, len(job.files))
    detections = records.package_detections(found, records.Places(web, job.temporary, {}), engine.to_json, key)
    return {"detections": detections, "name": job.package.name}, Outcome("ok")


def peak_memory() -> int:
    """Return the most bytes of address space that this process has had so far."""
    (peak,) = re.findall(r"^VmPeak:\s*(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(peak) * 1024


def _report(
    workspace: Workspace,
    progress: Progress,
    job: Job,
    result: Outcome,
    ended: Ended | None = None,
    record: dict[str, Any] | None = None,
) -> None:
    failed = result.status not in ("ok", "no_release")
    if failed:
        log.warning("package %d: %s; status.jsonl has its name and the reason", job.package.seq, result.status)
    if job.package.known:
        workspace.keep_known(job, result)
    else:
        workspace.keep(job, result, ended, record)
    progress.advance(failed=failed)


def _subject(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what an entry of the journal says of its package: at least name, status and reason."""
    subject: dict[str, Any] = entry["known"] if "known" in entry else entry["status"]
    return subject


def _name(entry: dict[str, Any]) -> str:
    return str(_subject(entry)["name"])


def _has_line(entry: dict[str, Any]) -> bool:
    """Return whether a child left a line of the package: a record, or what ``known.jsonl`` is to say."""
    return entry["known"]["status"] == "ok" if "known" in entry else bool(entry["status"]["record"])


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except (OSError, RecursionError):  # an archive can be deeper than rmtree can follow
        subprocess.run(["rm", "-rf", "--", directory], check=False)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _arguments() -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--shard", type=Path, required=True, metavar="FILE", help="the shard, shards/0007.jsonl.zst")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where prefetch has put its files")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where to put the results")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="the unpacked aura_dataset (default: none is used)")
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help=f"packages at a time (default: {cores})")
    scanner_identity.add_options(parser)
    add_progress_option(parser)
    parser.add_argument(
        "--memfree",
        type=int,
        default=2048,
        metavar="MB",
        help="MiB to leave free: start no other package while there is less, put one off at half (default: 2048)",
    )
    parser.add_argument(
        "--share",
        type=Path,
        metavar="DIR",
        help="share the cores with other scans that are given the same DIR, and begin when the one before has begun "
        "its last package (default: use --jobs cores alone)",
    )
    parser.add_argument("--stock", action="store_true", help="run Aura as it is, several times slower")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    output: Path = arguments.output.absolute()
    with program.alone(output):
        scan_shard(arguments, output)


def scan_shard(arguments: argparse.Namespace, output: Path) -> None:
    """Scan the shard as the arguments of the command line say, with `output` held; raises ProgramError."""
    web: Path = arguments.cache.absolute() / "web"
    dataset: Path | None = arguments.dataset and arguments.dataset.absolute()
    shard = read_shard(arguments.shard)
    names = {package.name for package in shard.packages}
    settings = scanner_identity.read_settings(arguments)
    engine = scanner_identity.load_engine()
    datasets = load_datasets(dataset, names, engine.popular_threshold()) if dataset else None
    scanner = {**scanner_identity.identity(engine, settings), "datasets": datasets.digests if datasets else {}}
    workspace = Workspace(output, {"shard": shard.sha256, "scanner": scanner})
    if workspace.finished(len(shard.packages)):
        log.info("scan %s: finished already by an earlier run", shard.label)
        return
    done = workspace.resume()
    engine.prepare(web, datasets, stock=arguments.stock)
    gc.collect()
    gc.freeze()  # what the parent has loaded is not collected again in every child
    log.info("scan %s: %d packages at a time", shard.label, arguments.jobs)
    refused = isolation.refused()
    log.info("scan %s: shut in by %s", shard.label, isolation.describe(refused))
    if isolation.NAMESPACES not in refused:
        isolation.enter_namespaces()
    limits = Limits(settings.timeout, settings.cpu_seconds, settings.memory * 1024**2, scanner_identity.FILE_BYTES)
    work = functools.partial(scan_in_child, engine, web, refused, settings.key)
    pool = ForkPool(work, Cores(arguments.jobs, arguments.share), limits, arguments.memfree * 1024**2)
    todo = [package for package in shard.packages if package.name not in done]
    progress = Progress(f"scan {shard.label}", len(shard.packages), len(done), arguments.progress)
    with cores.turn(arguments.share) as turn:
        scan_packages(todo, workspace, pool, web, progress, turn)
    progress.close()
    workspace.write_results(scanner, arguments.jobs)
    crashes = workspace.crashes()
    if len(crashes) >= SUSPICIOUS:
        workspace.start_anew()  # the next run is to try them again
        raise ProgramError(
            f"all {len(crashes)} packages crashed, the first with: {crashes[0]}; check the scanner environment",
            exit_codes.SCANNER_BROKEN,
        )
    workspace.close()


def _start_again_with(settings: dict[str, str]) -> None:
    """Replace this process by one with the environment variables `settings`, unless it has them already."""
    if any(os.environ.get(key) != value for key, value in settings.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})


if __name__ == "__main__":
    _start_again_with(_PYTHON)
    program.run(main)
