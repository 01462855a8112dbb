"""Scan the packages of one shard with Aura.

A parent process loads Aura once and forks a child for every package, a few at a time, the costly ones first. A child
that takes too long, too much memory or fails otherwise is one package lost, never more. A run that was killed goes on
where it was when it is started again. The results appear in OUTPUT at the end, each file whole: ``records.jsonl.zst``,
``status.jsonl``, ``joblog.txt`` and ``scanner.json``; ``OUTPUT/.work`` holds what is under way.
"""

import argparse
import contextlib
import functools
import gc
import logging
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cost
import isolation
import joblog
import jsonl
import outcome
import program
import records
from datasets import load_datasets
from journal import Journal, sync
from mirror_view import visible_document
from outcome import Outcome
from pool import Ended, ForkPool, Limits
from program import ProgramError
from progress import Progress
from redaction import Key
from shard import Package, ReleaseFile, read_shard

FILE_BYTES = 1024**3  # of any one file that a child writes, so of a member of an archive; as in aura_config.yaml
NEARLY = 0.95  # of the memory a child may use: so much is taken to be all of it
# Fewer packages than this, all crashed, are bad luck; from here on the scanner itself is taken to be broken.
SUSPICIOUS = 5
# Fixed before Python starts: the order of sets, and that text is UTF-8, on whatever machine this is.
_PYTHON = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
_RESULTS = ("records.jsonl.zst", "status.jsonl", "joblog.txt", "scanner.json")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A package, the files of it that are there, and a directory of its own to work in."""

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
        statuses = [entry["status"] for entry in self._journal.entries]
        if not all(self._record(status["name"]).is_file() for status in statuses if status["record"]):
            log.warning("records of an earlier run are gone: everything is scanned again")
            self.start_anew()
            return set()
        return {status["name"] for status in statuses}

    def start_anew(self) -> None:
        """Forget what earlier runs have finished."""
        self._journal.start_anew()

    def job(self, package: Package, web: Path) -> Job:
        """Return what a child needs to scan `package` from the mirror tree in `web`."""
        files = () if package.refused else tuple(f for f in package.files if _size(web / f.path) == f.size)
        return Job(package, files, self._jobs / f"{package.seq:06d}")

    def keep(self, job: Job, result: Outcome, ended: Ended | None, record: dict[str, Any] | None) -> None:
        """Take over the record, if there is one, and note that the package is finished."""
        package, size = job.package, 0
        if record is not None:
            size = job.record.stat().st_size
            sync(job.record)  # a record is on the disk, with its name, before the journal says so
            job.record.replace(self._record(package.name))
            sync(self._records)
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
        self._journal.append({"status": status, "joblog": row})
        self.clear(job)

    def clear(self, job: Job) -> None:
        """Remove what a child has left."""
        _remove(job.directory)

    def crashes(self) -> list[str]:
        """Return the reasons of the crashes if every package that was tried has crashed, else nothing."""
        tried = [entry["status"] for entry in self._journal.entries if entry["joblog"] is not None]
        crashed = [str(status["reason"]) for status in tried if status["status"] == "crash"]
        return crashed if len(crashed) == len(tried) else []

    def write_results(self, scanner: dict[str, Any], threads: int) -> None:
        """Write the four result files; `scanner` is the content of the last. `threads` compress the records."""
        entries = sorted(self._journal.entries, key=lambda entry: str(entry["status"]["name"]))
        with_record = (entry["status"]["name"] for entry in entries if entry["status"]["record"])
        frames = records.pack((self._record(name).read_bytes() for name in with_record), threads)
        jsonl.write_atomic(self._output / "records.jsonl.zst", frames)
        jsonl.write_atomic(self._output / "status.jsonl", (jsonl.line(entry["status"]) for entry in entries))
        rows = (entry["joblog"] for entry in self._journal.entries if entry["joblog"] is not None)
        jsonl.write_atomic(self._output / "joblog.txt", (row.encode() for row in (joblog.HEADER, *rows)))
        jsonl.write_atomic(self._output / "scanner.json", [jsonl.line(scanner)])

    def close(self) -> None:
        """Remove the single records: the results hold them now."""
        self._records.replace(self._jobs / "records")  # at once, so that a run that is killed here counts as finished
        _remove(self._jobs)

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.json"


def scan_packages(
    packages: list[Package],
    workspace: Workspace,
    pool: ForkPool[Job],
    web: Path,
    history: Mapping[str, float],
    progress: Progress,
) -> None:
    """Scan `packages` from the mirror tree in `web`; everything is in `workspace` when this returns.

    `history` is what is known of the CPU seconds that their scans take.
    """
    scans = []
    for package in packages:
        job = workspace.job(package, web)
        result = outcome.before_scan(package, job.files)
        if result is None:
            scans.append(job)
        else:
            _report(workspace, progress, job, result)
    scans.sort(key=lambda job: cost.predicted(job.package.name, job.files, history), reverse=True)
    for event in pool.run(scans):
        if event is None:
            progress.tick()
            continue
        job, ended = event
        if ended.postponed:
            log.info("%r: put off, memory is short", job.package.name)
            workspace.clear(job)
            continue
        result = outcome.of_child(ended, pool.limits, job.outcome)
        record = None
        if result.record:
            try:
                record = outcome.read_record(job.record, job.package.name)
            except outcome.NoRecordError as error:
                result = error.outcome
            else:
                if len(job.files) < len(job.package.files):
                    result = outcome.missing_files(job.package, job.files)
        _report(workspace, progress, job, result, ended, record)


def scan_in_child(engine: ModuleType, web: Path, unconfined: Collection[str], key: Key | None, job: Job) -> None:
    """Scan one package, in a process of its own, and leave the record and the outcome in the directory of `job`.

    `unconfined` names what the kernel refuses of what isolation.py shuts it in with. With a `key` neither quotes
    secrets. Raises what Aura raises, after leaving the outcome.
    """
    job.temporary.mkdir(parents=True)
    os.chdir(job.directory)
    tempfile.tempdir = str(job.temporary)
    try:
        isolation.confine(job.directory, unconfined)
        found = engine.scan(job.package.name, visible_document(job.package, job.files))
        if peak_memory() > NEARLY * resource.getrlimit(resource.RLIMIT_AS)[0]:
            # Aura takes a file that it has no memory to parse for one that cannot be parsed, and goes on.
            raise MemoryError("parts of the scan may have failed for want of it")
        places = records.Places(web, job.temporary, found.unpacked)
        record = records.make_record(job.package, job.files, found.output, places, engine.to_json, key)
        job.record.write_bytes(jsonl.line(record))
        outcome.of_record(record, job.files).write(job.outcome)
    except BaseException as error:
        outcome.of_error(error, (web, job.temporary), key).write(job.outcome)
        raise


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
        log.warning("%r: %s: %s", job.package.name, result.status, result.reason)
    workspace.keep(job, result, ended, record)
    progress.advance(failed=failed)


def _load_aura() -> ModuleType:
    try:
        import aura_engine
    except Exception as error:
        raise ProgramError(
            f"Aura cannot be loaded ({error!r}); make the scanner environment again from requirements.txt"
        ) from error
    return aura_engine


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
    parser.add_argument("--timeout", type=float, default=900, metavar="S", help="seconds a package (default: 900)")
    parser.add_argument("--cpu", type=float, metavar="S", help="CPU seconds a package (default: twice --timeout)")
    parser.add_argument("--memory", type=int, default=4096, metavar="MB", help="MiB a package (default: 4096)")
    parser.add_argument(
        "--memfree",
        type=int,
        default=2048,
        metavar="MB",
        help="MiB to leave free: start no other package while there is less, put one off at half (default: 2048)",
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="packages.jsonl.zst of an earlier scan: what took long then is started first",
    )
    parser.add_argument(
        "--redaction-key",
        type=Path,
        metavar="FILE",
        help="64 hexadecimal digits: quote no secrets, only hashes of them made with this key (default: quote them)",
    )
    parser.add_argument(
        "--turn",
        type=Path,
        metavar="DIR",
        help="wait until no other scan that was given the same DIR runs (default: no wait)",
    )
    parser.add_argument("--stock", action="store_true", help="run Aura as it is, several times slower")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    output: Path = arguments.output.absolute()
    with program.alone(output), program.alone(arguments.turn) if arguments.turn else contextlib.nullcontext():
        scan_shard(arguments, output)


def scan_shard(arguments: argparse.Namespace, output: Path) -> None:
    """Scan the shard as the arguments of the command line say, with `output` held; raises ProgramError."""
    web: Path = arguments.cache.absolute() / "web"
    dataset: Path | None = arguments.dataset and arguments.dataset.absolute()
    shard = read_shard(arguments.shard)
    names = {package.name for package in shard.packages}
    history = cost.read_history(arguments.history, names) if arguments.history else {}
    # By default more than one thread can use, so that it is the clock which decides, and not a race of the two.
    cpu_seconds: float = 2 * arguments.timeout if arguments.cpu is None else arguments.cpu
    key = Key.read(arguments.redaction_key) if arguments.redaction_key else None
    engine = _load_aura()
    datasets = load_datasets(dataset, names, engine.popular_threshold()) if dataset else None
    scanner = {
        "scanner": "aura-security",
        "version": engine.VERSION,
        "python": platform.python_version(),
        "settings": {
            "timeout": arguments.timeout,
            "cpu_seconds": cpu_seconds,
            "memory": arguments.memory,
            "file_bytes": FILE_BYTES,
            "unpacked_bytes": engine.MAX_BYTES,
            "unpacked_members": engine.MAX_MEMBERS,
            "libmagic": engine.LIBMAGIC,
            **({"secrets": "redacted", "redaction_key_id": key.id} if key else {"secrets": "kept"}),
            **({f"{name}_sha256": digest for name, digest in datasets.digests.items()} if datasets else {}),
        },
    }
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
    limits = Limits(arguments.timeout, cpu_seconds, arguments.memory * 1024**2, FILE_BYTES)
    work = functools.partial(scan_in_child, engine, web, refused, key)
    pool = ForkPool(work, arguments.jobs, limits, arguments.memfree * 1024**2)
    todo = [package for package in shard.packages if package.name not in done]
    progress = Progress(f"scan {shard.label}", len(shard.packages), done=len(done))
    scan_packages(todo, workspace, pool, web, history, progress)
    progress.close()
    workspace.write_results(scanner, arguments.jobs)
    crashes = workspace.crashes()
    if len(crashes) >= SUSPICIOUS:
        workspace.start_anew()  # the next run is to try them again
        raise ProgramError(
            f"all {len(crashes)} packages crashed, the first with: {crashes[0]}; check the scanner environment"
        )
    workspace.close()


def _start_again_with(settings: dict[str, str]) -> None:
    """Replace this process by one with the environment variables `settings`, unless it has them already."""
    if any(os.environ.get(key) != value for key, value in settings.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})


if __name__ == "__main__":
    _start_again_with(_PYTHON)
    program.run(main)
