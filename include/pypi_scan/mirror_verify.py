"""Verifies the mirror, a part of it at a time: what bandersnatch wrote once it never looks at again.

The packages are in as many parts as a week has hours, by a hash of their names. A run takes the part that was verified
longest ago, and leaves a report of it in ``verify/<part>.json`` of the state directory. What is damaged or missing is
fetched again, and takes the place of what is there only when it is right; documents and index pages are made anew by
bandersnatch, by name, in a directory of its own: its list of names would take the place of an interrupted sync's
``todo``. All that is written is written under the lock of the mirror, which is given back between packages.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from itertools import batched
from pathlib import Path

import msgspec

from pypi_scan.bandersnatch_config import bandersnatch_config, check_guards, config_for_documents, write_config
from pypi_scan.bandersnatch_run import remove_unfinished, run_bandersnatch
from pypi_scan.disk_guard import DiskGuard
from pypi_scan.files import atomic_write
from pypi_scan.gone import read_gone
from pypi_scan.mirror import Mirror
from pypi_scan.mirror_inspection import Finding, Inspection, inspect
from pypi_scan.names import is_canonical
from pypi_scan.project_status import read_statuses
from pypi_scan.settings import Settings
from pypi_scan.sync_lock import SyncLock, sync_lock
from pypi_scan.sync_report import read_report
from pypi_scan.upstream import ask

log = logging.getLogger(__name__)

PARTS = 7 * 24
_AT_ONCE = 20  # packages that are repaired before the lock is given back
_WAIT_SECONDS = 3600  # for a sync to end
_LOGGED = 20


class VerifyError(Exception):
    """Something of the mirror is damaged and could not be repaired; the report names it."""


class VerifyReport(msgspec.Struct, frozen=True):
    """What a run found in its `part`: counts, what was repaired, what is left, and what no document names.

    `excused` is damage of packages that upstream does not give now: those that are gone or quarantined, and those that
    the sync has put aside.
    """

    part: int
    ended: str
    packages: int
    files: int
    bytes: int
    repaired: list[str]
    left: list[str]
    excused: list[str]
    unknown: list[str]


def verify_mirror(settings: Settings) -> VerifyReport:
    """Verify and repair the part of the mirror that is due, write its report, and return it.

    Raises SyncRunningError if a sync does not end within an hour and something is to be repaired, SyncError if upstream
    or this host is in trouble, VerifyError if something is left damaged.
    """
    check_guards()
    work = _Verification(settings)
    part = due_part(work.directory)
    names = [name for name in work.names() if part_of(name) == part]
    found = work.inspect(names)
    repaired: list[Finding] = []
    left: list[Finding] = []
    for some in batched(sorted({finding.package for finding in found.findings}), _AT_ONCE):
        with sync_lock(settings.mirror_root, "mirror_verify", wait_for="any", wait_seconds=_WAIT_SECONDS) as lock:
            now_repaired, now_left = work.repair(some, lock)
        repaired += now_repaired
        left += now_left
    excused = work.excused()
    report = VerifyReport(
        part=part,
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=found.packages,
        files=found.files,
        bytes=found.bytes,
        repaired=[str(finding) for finding in repaired],
        left=[str(finding) for finding in left if finding.package not in excused],
        excused=[str(finding) for finding in left if finding.package in excused],
        unknown=found.unknown,
    )
    with atomic_write(work.directory / f"{part:03}.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    _tell(report)
    return report


def part_of(name: str) -> int:
    """Return which part of the mirror the package of this canonical name is in."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) % PARTS


def due_part(directory: Path) -> int:
    """Return the part that was verified longest ago, of which reports lie in `directory`."""
    reported = {path.name: path.stat().st_mtime_ns for path in directory.glob("[0-9]*.json")}
    return min(range(PARTS), key=lambda part: (reported.get(f"{part:03}.json", 0), part))


class _Verification:
    def __init__(self, settings: Settings) -> None:
        self.mirror = Mirror(settings.mirror_root)
        self.directory = settings.state_dir / "verify"
        self._settings = settings
        self._guard = DiskGuard(settings.mirror_root, settings.min_free_gb)
        self._config_file = self.directory / "bandersnatch.conf"
        config = bandersnatch_config(settings)
        self._hash_index = config["mirror"].getboolean("hash-index", fallback=False)
        write_config(config, self._config_file)

    def names(self) -> list[str]:
        """Return the packages that have a document or an index page, sorted."""
        pages = (self.mirror.web / "simple").glob("*/*/" if self._hash_index else "*/")
        return sorted({*self.mirror.package_names(), *(page.name for page in pages if is_canonical(page.name))})

    def inspect(self, names: Iterable[str]) -> Inspection:
        """Look at what the mirror has of these packages."""
        expected, _ = ask("expected_files", self._config_file, list(names))
        return inspect(self.mirror.web, expected, hash_index=self._hash_index)

    def repair(self, names: Iterable[str], lock: SyncLock) -> tuple[list[Finding], list[Finding]]:
        """Repair what is still wrong with these packages, now that nothing else writes; return what was, and is, wrong.

        The files first: a document that was made anew may name others, as upstream deleted some.
        """
        self._guard.check()
        before = self.inspect(names).findings
        self._fetch(before, lock)
        left = self.inspect({finding.package for finding in before}).findings
        renewable = {finding.package for finding in left} - self._withdrawn()
        if renewable:
            self._renew_documents(sorted(renewable), lock)
            self._fetch(self.inspect(renewable).findings, lock)
            left = self.inspect({finding.package for finding in left}).findings
        still = {(finding.package, finding.path) for finding in left}
        return [finding for finding in before if (finding.package, finding.path) not in still], left

    def excused(self) -> set[str]:
        """Return the packages that upstream does not give now."""
        return self._withdrawn() | read_report(self._settings.sync_report).put_aside.keys()

    def _withdrawn(self) -> set[str]:
        statuses = read_statuses(self._settings.project_status_file)
        return statuses.quarantined() | read_gone(self._settings.gone_file).keys()

    def _fetch(self, findings: Iterable[Finding], lock: SyncLock) -> None:
        files = [msgspec.to_builtins(finding.file) for finding in findings if finding.file]
        if files:
            failed, _ = ask("fetch_files", self._config_file, files, pass_fds=[lock.file.fileno()])
            for path, reason in failed.items():
                log.warning("could not be fetched again: %s: %s", path, reason)
            remove_unfinished(self.mirror.web, failed)

    def _renew_documents(self, names: list[str], lock: SyncLock) -> None:
        """Have bandersnatch write the documents and index pages of these packages anew."""
        home = self._settings.mirror_root / ".verify"
        home.mkdir(exist_ok=True)
        if not (home / "web").is_symlink():
            (home / "web").symlink_to("../web")
        config_file = self.directory / "documents.conf"
        write_config(config_for_documents(self._settings, home), config_file)
        told = run_bandersnatch(config_file, lock, lock.check, self.mirror.web, ("sync", "--skip-simple-root", *names))
        (home / "todo").unlink(missing_ok=True)
        for name, failure in told.packages.items():
            log.warning("could not be made anew: %s: %s", name, failure.reason)


def _tell(report: VerifyReport) -> None:
    log.info(
        "part %d: %d packages, %d files of %.1f GB; %d repaired, %d excused, %d unknown files",
        report.part,
        report.packages,
        report.files,
        report.bytes / 1e9,
        len(report.repaired),
        len(report.excused),
        len(report.unknown),
    )
    for what, those in (("repaired", report.repaired), ("excused", report.excused), ("left", report.left)):
        for each in those[:_LOGGED]:
            log.warning("%s: %s", what, each)
    if report.left:
        raise VerifyError(
            f"{len(report.left)} things in part {report.part} of the mirror are damaged or missing, and upstream did "
            f"not give them, the first: {report.left[0]}. verify/{report.part:03}.json in the state directory has all"
        )
