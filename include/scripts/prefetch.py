"""Bring the release files of one shard onto this machine.

Builds the part of a bandersnatch mirror that a scan of the shard needs: ``CACHE/web/json/<name>`` and
``CACHE/web/packages/...``. Every file is checked against its sha256 while it is written; what is there already and
right is kept, so a run that was cut short is simply started again. A file that cannot be had is recorded in
``CACHE/missing.jsonl`` ({"path", "name", "reason"}, sorted) and does not make the shard fail.
"""

import argparse
import hashlib
import logging
import queue
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import exit_codes
import jsonl
import program
from program import ProgramError
from progress import Progress, add_progress_option
from shard import Package, ReleaseFile, Shard, read_shard
from source import HttpSource, PathSource, Source, SourceError

# Left free on the disk, in bytes: the scan unpacks archives there while the next shard is fetched.
RESERVE = 2 * 1024**3
_ATTEMPTS = 3  # to get a file with the right content
# Files in a row that got no answer, after which the source is no longer asked.
GIVE_UP_AFTER = 20
MISSING = "missing.jsonl"  # written last: it says that the shard was fetched

log = logging.getLogger(__name__)


class WrongContentError(Exception):
    """A file came, but not with the size and digest it should have."""


@dataclass(frozen=True)
class Wanted:
    """A release file and the package it belongs to."""

    file: ReleaseFile
    package: Package


@dataclass(frozen=True)
class Fetched:
    """What became of a wanted file: had, if `failure` is None. `answered`: the source itself was in order."""

    wanted: Wanted
    failure: str | None = None
    answered: bool = True


class Prefetch:
    """One run: fetches from `source` into the directory `cache` with `jobs` threads."""

    def __init__(self, source: Source, cache: Path, jobs: int) -> None:
        self._source = source
        self._web = cache / "web"
        self._parts = cache / ".parts"
        self._jobs = jobs

    def prepare(self, packages: list[Package]) -> None:
        """Make the tree and write the JSON documents. Part files of an earlier run are removed."""
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)
        (self._web / "json").mkdir(parents=True, exist_ok=True)
        for package in packages:
            part = self._parts / "json.part"
            part.write_bytes(jsonl.line(package.document))
            part.replace(self._web / "json" / package.name)

    def missing_bytes(self, wanted: list[Wanted]) -> int:
        """Return how many bytes are still to be written."""
        return sum(item.file.size for item in wanted if _size(self._web / item.file.path) != item.file.size)

    def run(self, wanted: list[Wanted]) -> Iterator[Fetched | None]:
        """Fetch and yield what became of each file, in any order, and None now and then while nothing ends.

        An OSError of the cache is raised: a full or broken disk is not a matter of one file.
        """
        tasks = deque(wanted)
        results: queue.SimpleQueue[Fetched | BaseException] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._work, args=(tasks, results, number), daemon=True)
            for number in range(min(self._jobs, len(wanted)))
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in wanted:
                while (result := _get(results)) is None:
                    yield None
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            tasks.clear()  # a reader that stops early stops the threads after their present file

    def close(self) -> None:
        """Remove what only this run needed."""
        shutil.rmtree(self._parts, ignore_errors=True)

    def _work(self, tasks: "deque[Wanted]", results: "queue.SimpleQueue[Fetched | BaseException]", number: int) -> None:
        while True:
            try:
                wanted = tasks.popleft()
            except IndexError:
                return
            try:
                results.put(self._fetch(wanted, self._parts / f"{number}.part"))
            except BaseException as error:
                results.put(error)
                return

    def _fetch(self, wanted: Wanted, part: Path) -> Fetched:
        target = self._web / wanted.file.path
        if _size(target) == wanted.file.size and _sha256(target) == wanted.file.sha256:
            return Fetched(wanted)
        for attempt in range(_ATTEMPTS):
            try:
                self._source.fetch(wanted.file.path, lambda chunks: _save(chunks, part, wanted.file))
                break
            except SourceError as error:
                return Fetched(wanted, str(error), error.answered)
            except WrongContentError as error:  # it may be the way here that is damaged, not the file
                if attempt == _ATTEMPTS - 1:
                    return Fetched(wanted, str(error))
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        return Fetched(wanted)


def fetch_shard(shard: Shard, prefetch: Prefetch, cache: Path, told: Path | None) -> None:
    """Fetch all of `shard` and write ``missing.jsonl``; raises ProgramError if the shard as a whole failed.

    The file `told` says how far it is, as progress.py does.
    """
    # What is not scanned is not fetched: a known package, and a refused one, whose files are recorded with the reason.
    packages = [package for package in shard.packages if package.refused is None and not package.known]
    wanted = [Wanted(file, package) for package in packages for file in package.files]
    needed = prefetch.missing_bytes(wanted)
    free = shutil.disk_usage(cache).free - RESERVE
    if needed > free:
        raise ProgramError(
            f"no room: {needed:,} bytes are still to be fetched and {max(free, 0):,} are free beside a reserve of "
            f"{RESERVE:,}; free some space, or let fewer or smaller shards be ahead",
            exit_codes.OUT_OF_ROOM,
        )
    prefetch.prepare(packages)
    missing: list[dict[str, str | None]] = [
        {"path": jsonl.clean(path), "name": jsonl.clean(package.name), "reason": f"refused: {reason}"}
        for package in shard.packages
        for path, reason in package.refused_files
    ]
    failures = _fetch_all(prefetch, wanted, Progress(f"prefetch {shard.label}", len(wanted), file=told))
    missing += [{"path": f.wanted.file.path, "name": f.wanted.package.name, "reason": f.failure} for f in failures]
    missing.sort(key=lambda entry: (str(entry["path"]), str(entry["name"])))
    prefetch.close()
    jsonl.write_atomic(cache / MISSING, map(jsonl.line, missing))


def _fetch_all(prefetch: Prefetch, wanted: list[Wanted], progress: Progress) -> list[Fetched]:
    failures: list[Fetched] = []
    in_a_row = 0
    for fetched in prefetch.run(wanted):
        if fetched is None:
            progress.tick()
            continue
        progress.advance(failed=fetched.failure is not None)
        if fetched.failure is None:
            in_a_row = 0
            continue
        seq, digest = fetched.wanted.package.seq, fetched.wanted.file.sha256
        log.warning("package %d: the file with sha256 %s: %s", seq, digest, fetched.failure)
        failures.append(fetched)
        in_a_row = 0 if fetched.answered else in_a_row + 1
        if in_a_row >= GIVE_UP_AFTER:
            raise ProgramError(
                f"the source does not answer: {in_a_row} files in a row could not be had ({fetched.failure}); "
                "check that it is up and run the same command again"
            )
    progress.close()
    if wanted and len(failures) == len(wanted) and (len(wanted) >= GIVE_UP_AFTER or not failures[0].answered):
        raise ProgramError(
            f"not one of {len(wanted)} files could be had from the source ({failures[0].failure}); "
            "check that it is up and is the web/ of the mirror, then run the same command again"
        )
    return failures


def _save(chunks: Iterator[bytes], part: Path, file: ReleaseFile) -> None:
    """Write `chunks` to `part`; raises WrongContentError as soon as they cannot be `file`."""
    digest, size = hashlib.sha256(), 0
    with part.open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > file.size:
                raise WrongContentError(f"longer than the {file.size} bytes it should have")
            digest.update(chunk)
            out.write(chunk)
    if size != file.size:
        raise WrongContentError(f"{size} bytes instead of {file.size}")
    if digest.hexdigest() != file.sha256:
        raise WrongContentError(f"sha256 is {digest.hexdigest()}, not {file.sha256}")


def _get(results: "queue.SimpleQueue[Fetched | BaseException]") -> Fetched | BaseException | None:
    try:
        return results.get(timeout=1)
    except queue.Empty:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--shard", type=Path, required=True, metavar="FILE", help="the shard, shards/0007.jsonl.zst")
    parser.add_argument("--source", required=True, help="the mirror's web/: an HTTP(S) URL, or where it is mounted")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where to put this shard's files")
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help="files fetched at a time (default: 8)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=60,
        metavar="S",
        help="seconds without a byte before a retry (default: 60)",
    )
    add_progress_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    cache: Path = arguments.cache.absolute()
    shard = read_shard(arguments.shard)
    source: Source
    if arguments.source.startswith(("http://", "https://")):
        source = HttpSource(arguments.source, arguments.jobs, arguments.timeout)
    else:
        source = PathSource(Path(arguments.source).absolute())
    with program.alone(cache):
        fetch_shard(shard, Prefetch(source, cache, arguments.jobs), cache, arguments.progress)


if __name__ == "__main__":
    program.run(main)
