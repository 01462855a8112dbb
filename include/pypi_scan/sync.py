"""One sync of the mirror: bring it up to date, put aside what fails, say which packages changed."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pypi_scan import batches
from pypi_scan.bandersnatch_config import bandersnatch_config, check_guards, write_config
from pypi_scan.bandersnatch_log import BandersnatchLog, Kind
from pypi_scan.batches import Batches
from pypi_scan.disk_guard import DiskGuard
from pypi_scan.files import atomic_write_text
from pypi_scan.filesystem_time import filesystem_time_ns
from pypi_scan.gone import GoneError, read_gone, still_or_newly_gone, write_gone
from pypi_scan.mirror import Mirror
from pypi_scan.mirror_state import set_aside_damaged
from pypi_scan.project_status import ProjectStatusError
from pypi_scan.settings import Settings
from pypi_scan.sync_errors import SyncError
from pypi_scan.sync_lock import sync_lock
from pypi_scan.sync_work import SyncWork
from pypi_scan.todo_list import Todo, read_todo
from pypi_scan.upstream import ask

log = logging.getLogger(__name__)

_WAIT_SECONDS = 900  # for mirror_verify, which holds the lock for one repair after the other
_LOGGED = 20
_LAST_SYNC = "last-sync"


@dataclass(frozen=True)
class SyncResult:
    """What a successful sync did, at `ended_ns` (nanoseconds of file system time).

    `changed_list` holds the canonical names of the packages that changed since changes were last acknowledged, one a
    line; a project that upstream no longer has, or has again, changed too. `put_aside` counts the packages that the
    mirror lacks in their newest state, by the kind of the reason; ``sync-report.json`` of the state directory names
    them. `refused` counts names and files, in all syncs, that would have been written outside the mirror.
    """

    ended_ns: int
    previous_serial: int
    serial: int
    changed: int
    changed_list: Path
    put_aside: dict[str, int]
    refused: int


def sync_mirror(settings: Settings) -> SyncResult:
    """Bring the mirror up to date.

    The result tells what changed since `acknowledge_changes` was last called: changes are told again until then.
    Raises SyncRunningError if another sync runs, SyncError if upstream or this host is in trouble; what is left is then
    taken up by the next sync. A single package that fails is put aside, and tried again by every sync. What an
    interrupted sync left is finished before upstream is asked what is new. A large sync goes in batches, and the serial
    stays as it was until all of them are done.
    """
    check_guards()
    mirror = Mirror(settings.mirror_root)
    settings.mirror_root.mkdir(parents=True, exist_ok=True)
    config = bandersnatch_config(settings)
    config_file = settings.state_dir / "bandersnatch.conf"
    with sync_lock(settings.mirror_root, "pypi_sync", wait_for="mirror_verify", wait_seconds=_WAIT_SECONDS) as lock:
        guard = DiskGuard(settings.mirror_root, settings.min_free_gb)
        guard.check()
        write_config(config, config_file)
        set_aside_damaged(settings.mirror_root)
        try:
            read_gone(settings.gone_file)
            work = SyncWork(mirror, config_file, settings.sync_report, settings.project_status_file, lock, guard)
        except (GoneError, ProjectStatusError) as error:
            raise SyncError(str(error)) from error
        previous_serial = mirror.serial()
        since = _change_mark(settings)
        if work.todo.exists():
            work.through(read_todo(work.todo))
            log.info("an interrupted sync was finished; asking upstream what has changed since")
        there = _catch_up(work)
        serial = mirror.serial()
        ended = filesystem_time_ns(settings.mirror_root / ".sync-time")
        written = set(changed_packages(mirror, since))
        changed = written - _told_before(work, since)
        changed |= _update_gone(settings, work, there | written, since, ended)
        changed |= work.statuses.changed_since(since).intersection(mirror.package_names())
        changed_list = settings.state_dir / "changes" / f"{serial}.txt"
        if changed:
            atomic_write_text(changed_list, "".join(f"{name}\n" for name in sorted(changed)))
    atomic_write_text(settings.state_dir / _LAST_SYNC, f"{time.time():.0f}\n")
    report = work.report
    log.info("mirror serial %d -> %d, %d packages changed", previous_serial, serial, len(changed))
    for name, each in list(report.put_aside.items())[:_LOGGED]:
        log.warning("put aside since %s, tried by %d syncs: %s: %s", each.since, each.tries, name, each.reason)
    return SyncResult(ended, previous_serial, serial, len(changed), changed_list, report.counts(), len(report.refused))


def last_sync_time(settings: Settings) -> float:
    """Return when the last sync that succeeded ended, in seconds since the epoch; 0 before the first."""
    try:
        return float((settings.state_dir / _LAST_SYNC).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0.0


def acknowledge_changes(settings: Settings, ended_ns: int) -> None:
    """Note that the changes of the sync that ended at `ended_ns` were passed on: they are not told again."""
    atomic_write_text(settings.state_dir / "changes-since", f"{ended_ns}\n")


def changed_packages(mirror: Mirror, since_ns: int) -> list[str]:
    """Return the canonical names of packages whose JSON was written at or after `since_ns` (file system time), sorted.

    bandersnatch writes the JSON of a package whenever it syncs it, also in runs that failed later on.
    """
    return [name for name in mirror.package_names() if mirror.json_path(name).stat().st_mtime_ns >= since_ns]


def _catch_up(work: SyncWork) -> set[str]:
    """Sync what has changed upstream, and what was put aside; return the canonical names of what upstream lists."""
    large = Batches(work.mirror.root)
    if large.begun():
        _in_batches(work, large)
    state = _upstream_state(work)
    there = set(state["listed"])
    put_aside = work.report.put_aside
    work.keep(work.report.without(name for name in put_aside.keys() - there if put_aside[name].kind is Kind.NOT_FOUND))
    new = Todo(state["serial"], state["backlog"])
    todo = Todo(new.serial, {**work.report.due(but=new.canonical()), **new.packages})
    if len(todo.packages) <= batches.BATCH_PACKAGES:
        work.through(todo)
    else:
        log.info("%d packages to sync: that goes in batches", len(todo.packages))
        large.begin(work.mirror.serial(), todo)
        _in_batches(work, large)
    return there


def _in_batches(work: SyncWork, large: Batches) -> None:
    for left in large.turns():
        work.through(read_todo(work.todo))
        log.info("%d lists of a large sync are left, %d packages are put aside", left, len(work.report.put_aside))


def _upstream_state(work: SyncWork) -> dict[str, Any]:
    state, logged = ask("upstream_state", work.config_file, pass_fds=[work.lock.file.fileno()])
    told = BandersnatchLog()
    for line in logged.splitlines():
        told.feed(line)
    work.refuse(told)
    return dict(state)


def _told_before(work: SyncWork, since_ns: int) -> set[str]:
    """Return what this sync tried again and put aside again: its document was written anew, and is the same."""
    return {name for name, each in work.report.put_aside.items() if each.since_ns < since_ns}


def _update_gone(settings: Settings, work: SyncWork, there: set[str], since_ns: int, now_ns: int) -> set[str]:
    """Note which projects are gone upstream; return those that went since `since_ns`, or that are there again.

    A quarantined project may be gone too: those that just went are asked for their status, as are those that were
    quarantined, or not told of, before.
    """
    before = read_gone(settings.gone_file)
    gone = still_or_newly_gone(before, work.mirror.package_names(), there, now_ns)
    work.ask_status((gone.keys() - before.keys()) | work.statuses.quarantined() | {*work.statuses.ask_again})
    if gone != before:
        write_gone(settings.gone_file, gone)
        log.info("%d projects of the mirror are gone upstream, before there were %d", len(gone), len(before))
    return {name for name, missed_ns in gone.items() if missed_ns > since_ns} | (before.keys() - gone.keys())


def _change_mark(settings: Settings) -> int:
    """Return the end of the last sync whose changes were acknowledged, 0 before the first."""
    try:
        return int((settings.state_dir / "changes-since").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0
