"""Works through a list of packages with bandersnatch, and puts aside those that fail.

bandersnatch ends with exit code 0 also when packages failed. Whether they did, the files tell: a run that had no error
removes its ``todo`` and sets the mirror's serial; else ``todo`` holds what was left undone.
"""

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pypi_scan.bandersnatch_log import BandersnatchLog, Failure, Kind
from pypi_scan.bandersnatch_run import run_bandersnatch
from pypi_scan.disk_guard import DiskGuard
from pypi_scan.filesystem_time import filesystem_time_ns
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.names import HostileInputError, mirror_path
from pypi_scan.project_status import ProjectStatuses, read_statuses, write_statuses
from pypi_scan.sync_errors import SyncError
from pypi_scan.sync_lock import SyncLock
from pypi_scan.sync_report import SyncReport, read_report, write_report
from pypi_scan.todo_list import Todo, read_todo, write_todo
from pypi_scan.upstream import ask

log = logging.getLogger(__name__)

RETRY_SECONDS = (5.0, 30.0)
"""How long to wait before each further try of what may pass; bandersnatch itself waits seconds, for some of it."""

_MANY = 10  # failures that are more than half of a list: upstream is in trouble, not the packages
_LOGGED = 20


@dataclass
class SyncWork:
    """What it takes to work on a mirror, and the report of the sync so far, as it was `before` and is `now`."""

    mirror: Mirror
    config_file: Path
    report_file: Path
    status_file: Path
    lock: SyncLock
    guard: DiskGuard
    before: SyncReport = field(init=False)
    report: SyncReport = field(init=False)
    statuses: ProjectStatuses = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.report = read_report(self.report_file)
        self.statuses = read_statuses(self.status_file)

    @property
    def todo(self) -> Path:
        """bandersnatch's list."""
        return self.mirror.root / "todo"

    def check(self) -> None:
        """Raise SyncError if the sync must not go on."""
        self.lock.check()
        self.guard.check()

    def through(self, work: Todo) -> None:
        """Sync these packages, so that the mirror has the serial of the list; put aside those that fail.

        Quarantined ones are put aside as they are, what may pass is tried again. Raises SyncError, and leaves in
        ``todo`` what is left, if bandersnatch died, if the reason is not the packages', or if most of many failed.
        """
        left = work = self._without_quarantined(work)
        spelled = work.canonical()
        write_todo(self.todo, left)
        for pause in (*RETRY_SECONDS, None):
            told = self._run()
            if self._complete(work):
                failures = dict.fromkeys(told.not_found & left.canonical().keys(), _NO_DOCUMENT)
                self._note(failures, spelled, work, done=left.canonical().keys() - failures.keys())
                return
            failures = self._failures(told, left)
            _raise_if_of_the_whole(failures, len(work.packages))
            passing = {name for name, failure in failures.items() if failure.kind.passing}
            self._note(failures, spelled, work, done=left.canonical().keys() - failures.keys())
            left = work.only(passing)
            if not passing or pause is None:
                break
            write_todo(self.todo, left)
            log.info("trying %d packages again in %g seconds", len(passing), pause)
            time.sleep(pause)
        write_todo(self.todo, Todo(work.serial))
        told = self._run()
        if not self._complete(work):
            raise SyncError(f"bandersnatch did not set the serial {work.serial}: {told.last_words()}")

    def ask_status(self, names: Collection[str]) -> None:
        """Ask upstream for the status of the projects with these canonical names, and note it; raises SyncError."""
        if not names:
            return
        said, _ = ask("upstream_status", self.config_file, sorted(names), pass_fds=[self.lock.file.fileno()])
        if said["not_told"]:
            log.warning("upstream did not tell the status of %d projects; it is asked again", len(said["not_told"]))
        statuses = self.statuses.told(names, said["statuses"], said["not_told"], self._now_ns())
        if statuses != self.statuses:
            self.statuses = statuses
            write_statuses(self.status_file, statuses)

    def refuse(self, told: BandersnatchLog) -> None:
        """Note what was refused as hostile."""
        if told.refused:
            for reason in told.refused[:_LOGGED]:
                log.warning("refused: %s", reason)
            self.keep(self.report.with_refused(told.refused, _now()))

    def keep(self, report: SyncReport) -> None:
        """Write the report down."""
        if report != self.report:
            self.report = report
            write_report(self.report_file, report)

    def _without_quarantined(self, work: Todo) -> Todo:
        spelled = work.canonical()
        self.ask_status(spelled.keys())
        held = spelled.keys() & self.statuses.quarantined()
        reasons = {name: self.statuses.projects[name].reason for name in held}
        self._note({name: Failure(Kind.QUARANTINED, reasons[name]) for name in held}, spelled, work, done=set())
        return work.only(spelled.keys() - held)

    def _now_ns(self) -> int:
        return filesystem_time_ns(self.mirror.root / ".sync-time")

    def _run(self) -> BandersnatchLog:
        self.check()
        told = run_bandersnatch(self.config_file, self.lock, self.check, self.mirror.web)
        self.refuse(told)
        return told

    def _complete(self, work: Todo) -> bool:
        return not self.todo.exists() and self.mirror.serial() == work.serial

    def _failures(self, told: BandersnatchLog, work: Todo) -> dict[str, Failure]:
        """Return why each package was left undone, by canonical name, after a run that was not complete."""
        left = read_todo(self.todo).canonical().keys()
        return {name: self._failure(name, told) for name in left if name in work.canonical()}

    def _failure(self, name: str, told: BandersnatchLog) -> Failure:
        if name in told.not_found:
            return _NO_DOCUMENT
        try:  # what is told of a file says more than what then is told of its package
            of_files = [told.files[path] for path in self._paths(name) if path in told.files] if told.files else []
        except MirrorError:
            of_files = []
        known = [*of_files, *([told.packages[name]] if name in told.packages else [])]
        return min(known, key=_rank, default=_NO_REASON)

    def _paths(self, name: str) -> set[str]:
        paths = set()
        for release in self.mirror.document(name).releases.values():
            for file in release:
                try:
                    path = mirror_path(file.url)
                except HostileInputError:
                    continue
                paths |= {path, f"{path}.metadata"}
        return paths

    def _note(self, failures: Mapping[str, Failure], spelled: Mapping[str, str], work: Todo, *, done: set[str]) -> None:
        for name, failure in list(failures.items())[:_LOGGED]:
            log.warning("not synced: %s: %s (%s)", name, failure.reason, failure.kind)
        if len(failures) > _LOGGED:
            log.warning("and %d more", len(failures) - _LOGGED)
        if failures or done & self.report.put_aside.keys():
            noted = self.before.with_failures(failures, spelled, work.packages, _now(), self._now_ns())
            put_aside = self.report.put_aside | {name: noted.put_aside[name] for name in failures}
            self.keep(SyncReport(put_aside, self.report.refused).without(done))


_NO_DOCUMENT = Failure(Kind.NOT_FOUND, "upstream lists it, and has no JSON document of it")
_NO_REASON = Failure(
    Kind.UNEXPLAINED, "bandersnatch does not say why: its JSON document is damaged, or a filter left it out"
)


def _rank(failure: Failure) -> int:
    """Order failures by how much they explain: what the whole sync fails with, what will not pass, the rest."""
    return 0 if failure.kind.of_the_whole else 2 if failure.kind.passing else 1


def _raise_if_of_the_whole(failures: Mapping[str, Failure], packages: int) -> None:
    """Raise SyncError if this is not a matter of single packages."""
    failed = {name: failure for name, failure in failures.items() if failure.kind is not Kind.NOT_FOUND}
    for name, failure in failed.items():
        if failure.kind.of_the_whole:
            what = "the mirror's disk is full" if failure.kind is Kind.DISK_FULL else "the mirror cannot be written"
            raise SyncError(
                f"{what}: {failure.reason} (at {name}). Put that right; the next sync takes up what is left."
            )
    if len(failed) >= _MANY and 2 * len(failed) > packages:
        name, failure = next(iter(failed.items()))
        raise SyncError(
            f"upstream is in trouble: {len(failed)} of {packages} packages failed, the first, {name}, with "
            f"{failure.reason}. The next sync takes up what is left."
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
