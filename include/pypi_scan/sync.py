"""One sync of the mirror: run bandersnatch as a subprocess, judge it by its log, say which packages changed.

bandersnatch ends with exit code 0 also when packages failed (missing JSON, 5xx, timeouts, hash mismatches). A sync
succeeded when it ended with 0 AND logged a ``New mirror serial:`` line AND logged no ERROR.
"""

import configparser
import fcntl
import io
import logging
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import BinaryIO

from pypi_scan import bootstrap
from pypi_scan.bootstrap import FirstSync
from pypi_scan.files import atomic_write_text
from pypi_scan.gone import GoneError, read_gone, still_or_newly_gone, write_gone
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.settings import Settings

log = logging.getLogger(__name__)

_LOG_LINE = re.compile(r"^\S+ \S+ (?P<level>[A-Z]+): (?P<message>.*?)(?: \(\w+\.py:\d+\))?$")
_PROGRESS_SECONDS = 10.0
_MAX_REASONS = 5
_SYNC_ENDED = ".sync-ended"


GUARDS = ("refuse_hostile_names", "refuse_hostile_files")
"""The plugins of pypi_scan.bandersnatch_filters, which every sync runs with."""


class SyncError(Exception):
    """The mirror was not brought up to date; it is as consistent as before. The message says why."""


class SyncRunningError(SyncError):
    """Another sync of the same mirror holds the lock."""


class IncompleteSyncError(SyncError):
    """bandersnatch went through its list, and failed with some of it; `outcome` is its log."""

    def __init__(self, message: str, outcome: "BandersnatchLog") -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class SyncResult:
    """What a successful sync did, at `ended_ns` (nanoseconds of file system time).

    `changed_list` holds the canonical names of the packages that changed since changes were last acknowledged, one a
    line; a project that upstream no longer has, or has again, changed too. `not_found` counts names that upstream lists
    without a JSON document, `refused` names and files that would have been written outside the mirror; both are in the
    file ``left-out.txt`` of the state directory.
    """

    ended_ns: int
    previous_serial: int
    serial: int
    changed: int
    changed_list: Path
    not_found: int
    refused: int


@dataclass
class BandersnatchLog:
    """What the log of one bandersnatch run told so far."""

    to_sync: int = 0
    fetched: int = 0
    serial: int | None = None
    errors: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def feed(self, line: str) -> None:
        """Take in one line."""
        line = line.rstrip("\n")
        self.tail.append(line)
        match = _LOG_LINE.match(line)
        if not match:
            return
        level, message = match["level"], match["message"]
        if level in ("ERROR", "CRITICAL"):
            self.errors.append(message)
        elif found := re.fullmatch(r"(\d+) packages to sync\.", message):
            self.to_sync = int(found[1])
        elif message.startswith("Fetching metadata for package: "):
            self.fetched += 1
        elif found := re.fullmatch(r"New mirror serial: (\d+)", message):
            self.serial = int(found[1])
        elif found := re.fullmatch(r"(\S+) no longer exists on PyPI", message):
            self.not_found.append(found[1])
        elif message.startswith("Refused: "):
            self.refused.append(message.removeprefix("Refused: "))

    def check(self, exit_code: int) -> int:
        """Return the new serial; raises SyncError with the reasons if the run did not succeed.

        That is an IncompleteSyncError if bandersnatch itself believed to have come to its end.
        """
        if exit_code == 0 and self.serial is not None and not self.errors:
            return self.serial
        reasons = list(dict.fromkeys(self.errors))
        if not reasons:
            reasons = [line for line in self.tail if line.strip()][-1:] or ["no output"]
        more = f" (and {len(reasons) - _MAX_REASONS} more)" if len(reasons) > _MAX_REASONS else ""
        message = (
            f"bandersnatch ended with exit code {exit_code} and {len(self.errors)} errors, "
            f"{'no' if self.serial is None else 'a'} new serial: {'; '.join(reasons[:_MAX_REASONS])}{more}. "
            "The mirror keeps its serial; the next sync takes up what is left."
        )
        raise SyncError(message) if exit_code else IncompleteSyncError(message, self)


def bandersnatch_config(settings: Settings) -> configparser.ConfigParser:
    """Return the configuration of bandersnatch that follows from the settings.

    The upstream is named only if a setting names one: bandersnatch's own default is the real PyPI.
    Raises SyncError if `bandersnatch_extra_config` cannot be read.
    """
    # As bandersnatch reads it: "=" alone separates, names keep their case. Its "%" interpolation is left to itself.
    config = configparser.ConfigParser(interpolation=None, delimiters="=")
    config.optionxform = str  # type: ignore[assignment,method-assign]
    if settings.bandersnatch_extra_config:
        try:
            config.read_string(settings.bandersnatch_extra_config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise SyncError(f"the setting bandersnatch_extra_config cannot be read: {error}") from error
    if not config.has_section("mirror"):
        config.add_section("mirror")
    ours = {
        "directory": str(settings.mirror_root),
        "json": "true",
        "release-files": "true",
        "workers": str(settings.bandersnatch_workers),
        "timeout": str(settings.bandersnatch_timeout),
        "stop-on-error": "false",
    }
    if settings.upstream_url:
        ours["master"] = settings.upstream_url
        ours["allow-non-https"] = "true" if settings.upstream_url.startswith("http://") else "false"
    if not config.has_section("plugins"):
        config.add_section("plugins")
    enabled = config["plugins"].get("enabled", "").split()
    config["plugins"]["enabled"] = "\n".join(["", *GUARDS, *(name for name in enabled if name not in GUARDS)])
    config["mirror"].update({option: value.replace("%", "%%") for option, value in ours.items()})
    return config


def sync_mirror(settings: Settings) -> SyncResult:
    """Bring the mirror up to date.

    The result tells what changed since `acknowledge_changes` was last called: changes are told again until then.
    Raises SyncRunningError if another sync runs, SyncError if bandersnatch did not succeed. A run that was killed
    left a todo list, which bandersnatch finishes without asking upstream what is new: then it runs once more.
    A large first sync goes in batches, and the serial stays at 0 until all of them are done.
    """
    _check_guards()
    mirror = Mirror(settings.mirror_root)
    settings.mirror_root.mkdir(parents=True, exist_ok=True)
    config = bandersnatch_config(settings)
    config_file = settings.state_dir / "bandersnatch.conf"

    with _sync_lock(settings.state_dir / "sync.lock") as lock:
        _write_config(config, config_file)
        try:
            previous_serial = mirror.serial()
            read_gone(settings.gone_file)
        except (MirrorError, GoneError) as error:
            raise SyncError(str(error)) from error
        since = _change_mark(settings)
        first_sync = FirstSync(settings.mirror_root)
        not_found, refused = 0, 0
        if not previous_serial and not first_sync.begun() and not first_sync.todo.exists():
            refused = _begin_first_sync(settings, first_sync, lock)
        if first_sync.begun():
            batches = _sync_in_batches(settings, first_sync, lock)
            not_found, refused = len(batches.not_found), refused + len(batches.refused)
        resumed = first_sync.todo.exists()
        outcome = _run_bandersnatch(config_file, lock)
        if resumed:
            log.info("an interrupted sync was finished; asking upstream what has changed since")
            finished, outcome = outcome, _run_bandersnatch(config_file, lock)
            outcome.not_found[:0], outcome.refused[:0] = finished.not_found, finished.refused
        serial = mirror.serial()
        _record_left_out(settings, serial, outcome)
        ended = _filesystem_time_ns(settings.mirror_root / _SYNC_ENDED)
        changed = changed_packages(mirror, since)
        changed = sorted({*changed, *_update_gone(settings, mirror, lock, changed, since, ended)})
        changed_list = settings.state_dir / "changes" / f"{serial}.txt"
        if changed:
            atomic_write_text(changed_list, "".join(f"{name}\n" for name in changed))
    log.info("mirror serial %d -> %d, %d packages changed", previous_serial, serial, len(changed))
    not_found, refused = not_found + len(outcome.not_found), refused + len(outcome.refused)
    return SyncResult(ended, previous_serial, serial, len(changed), changed_list, not_found, refused)


def last_sync_time(settings: Settings) -> float:
    """Return when the last sync that succeeded ended, in seconds since the epoch; 0 before the first."""
    try:
        return (settings.mirror_root / _SYNC_ENDED).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def acknowledge_changes(settings: Settings, ended_ns: int) -> None:
    """Note that the changes of the sync that ended at `ended_ns` were passed on: they are not told again."""
    atomic_write_text(settings.state_dir / "changes-since", f"{ended_ns}\n")


def changed_packages(mirror: Mirror, since_ns: int) -> list[str]:
    """Return the canonical names of packages whose JSON was written at or after `since_ns` (file system time), sorted.

    bandersnatch writes the JSON of a package whenever it syncs it, also in runs that failed later on.
    """
    return [name for name in mirror.package_names() if mirror.json_path(name).stat().st_mtime_ns >= since_ns]


def _check_guards() -> None:
    """Raise SyncError unless bandersnatch will find the plugins that keep hostile names and paths out."""
    installed = {point.name for point in entry_points() if point.group.startswith("bandersnatch_filter_plugins.")}
    if missing := set(GUARDS) - installed:
        raise SyncError(
            f"bandersnatch would not find the plugins {', '.join(sorted(missing))}, without which upstream could write "
            "outside the mirror; install this project into Airflow's environment (make setup)"
        )


def _begin_first_sync(settings: Settings, first_sync: FirstSync, lock: BinaryIO) -> int:
    """Write the lists of a first sync that is too large for one; return how many names were refused by that."""
    command = [sys.executable, "-m", "pypi_scan.upstream_backlog", str(settings.state_dir / "bandersnatch.conf")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", pass_fds=(lock.fileno(),))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SyncError(f"what upstream has could not be asked: {reason}. The next sync asks again.")
    target_serial, *lines = done.stdout.splitlines()
    if len(lines) <= bootstrap.BATCH_PACKAGES:
        return 0
    outcome = BandersnatchLog()
    for line in done.stderr.splitlines():
        outcome.feed(line)
    _record_left_out(settings, int(target_serial), outcome)
    packages = dict(line.split() for line in lines)
    first_sync.begin(0, int(target_serial), {name: int(serial) for name, serial in packages.items()})
    log.info("%d packages to sync: the first sync goes in batches", len(packages))
    return len(outcome.refused)


def _sync_in_batches(settings: Settings, first_sync: FirstSync, lock: BinaryIO) -> BandersnatchLog:
    """Go through the batches of a first sync, and leave its end to bandersnatch; return what was left out by that.

    A package that fails does not hold up those after it, unless as many fail as make a batch: then upstream is in
    trouble. Raises SyncError if a package failed, or bandersnatch: the next sync goes on from there.
    """
    total, failures, put_off = BandersnatchLog(), list[str](), 0
    for left in first_sync.batches():
        try:
            outcome = _run_bandersnatch(settings.state_dir / "bandersnatch.conf", lock)
        except IncompleteSyncError as error:
            outcome = error.outcome
            failures.append(str(error))
            put_off += first_sync.put_off(set(outcome.not_found))
        _record_left_out(settings, first_sync.target_serial(), outcome)
        total.not_found += outcome.not_found
        total.refused += outcome.refused
        log.info("first sync: %d batches are left, %d packages failed", left, put_off)
        if put_off >= bootstrap.BATCH_PACKAGES:
            break
    if failures:
        raise SyncError(
            f"{put_off} packages failed in {len(failures)} of the first sync's batches; the next sync tries them "
            f"again, after what is left. The first such batch: {failures[0]}"
        )
    first_sync.end()
    return total


def _record_left_out(settings: Settings, serial: int, outcome: BandersnatchLog) -> None:
    """Log what a sync left out, and add it to the file that keeps account of it."""
    left_out = [f"no JSON document: {name!r}" for name in outcome.not_found]
    left_out += [f"refused: {reason}" for reason in outcome.refused]
    for reason in left_out:
        log.warning("left out, %s", reason)
    if left_out:
        path = settings.state_dir / "left-out.txt"
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(f"{serial}\t{reason}\n" for reason in left_out)


def _update_gone(
    settings: Settings, mirror: Mirror, lock: BinaryIO, written: list[str], since_ns: int, now_ns: int
) -> set[str]:
    """Note which projects are gone upstream; return those that went since `since_ns`, or that are there again.

    What was `written` since then is there, even if the list comes from a cache that does not know it yet.
    """
    before = read_gone(settings.gone_file)
    there = _listed_upstream(settings.state_dir / "bandersnatch.conf", lock).union(written)
    gone = still_or_newly_gone(before, mirror.package_names(), there, now_ns)
    if gone != before:
        write_gone(settings.gone_file, gone)
        log.info("%d projects of the mirror are gone upstream, before there were %d", len(gone), len(before))
    return {name for name, missed_ns in gone.items() if missed_ns > since_ns} | (before.keys() - gone.keys())


def _listed_upstream(config_file: Path, lock: BinaryIO) -> set[str]:
    """Return the canonical names of all projects that upstream lists; raises SyncError."""
    command = [sys.executable, "-m", "pypi_scan.upstream_names", str(config_file)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", pass_fds=(lock.fileno(),))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SyncError(
            f"the mirror is up to date, but which projects upstream no longer has could not be asked: {reason}. "
            "What changed is told by the next sync."
        )
    return set(done.stdout.splitlines())


def _run_bandersnatch(config_file: Path, lock: BinaryIO) -> BandersnatchLog:
    """Run ``bandersnatch mirror`` to its end, log progress, and return its log; raises SyncError if it failed.

    The child inherits the lock: if this process is killed, no second sync can start beside the first.
    """
    outcome = BandersnatchLog()
    process = subprocess.Popen(
        [sys.executable, "-m", "bandersnatch", "--config", str(config_file), "mirror"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock.fileno(),),
    )
    assert process.stdout
    try:
        last_report = time.monotonic()
        for line in process.stdout:
            outcome.feed(line)
            if time.monotonic() - last_report >= _PROGRESS_SECONDS:
                last_report = time.monotonic()
                log.info("syncing: %d of %d packages, %d errors", outcome.fetched, outcome.to_sync, len(outcome.errors))
        exit_code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    outcome.check(exit_code)
    log.info("bandersnatch synced %d packages, serial %s", outcome.fetched, outcome.serial)
    return outcome


@contextmanager
def _sync_lock(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SyncRunningError(
                f"another sync of this mirror holds {path}; it will finish by itself, or end its bandersnatch process"
            ) from None
        yield file


def _write_config(config: configparser.ConfigParser, path: Path) -> None:
    text = io.StringIO()
    config.write(text)
    atomic_write_text(path, text.getvalue())


def _change_mark(settings: Settings) -> int:
    """Return the end of the last sync whose changes were acknowledged, 0 before the first."""
    try:
        return int((settings.state_dir / "changes-since").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def _filesystem_time_ns(probe: Path) -> int:
    """Return the current time as the mirror's file system sees it, which may be a NAS with a clock of its own."""
    probe.write_bytes(b"")
    return probe.stat().st_mtime_ns
