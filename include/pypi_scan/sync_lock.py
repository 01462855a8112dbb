"""The lock of a mirror: one process of one host writes to it at a time.

It is the file ``.sync-lock`` in the mirror. Who holds it has it locked with ``flock``, which ends with the last process
that has it open, bandersnatch included, whatever kills them; and has written into it who that is, and touches it every
half minute. So it relies on

- ``flock`` among the processes of one host, and of all hosts where the file system carries it (NFS 4);
- the time of the last touch where it does not: another host's lock counts until it was not touched for ten minutes.
  Two hosts that then take it over in the same moment find out at the next touch, and all but the last stop.
"""

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from pypi_scan.filesystem_time import filesystem_time_ns
from pypi_scan.sync_errors import SyncError, SyncRunningError

log = logging.getLogger(__name__)

TOUCH_SECONDS = 30.0
STALE_SECONDS = 600.0
_WAIT_STEP_SECONDS = 0.5


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock: for what, on which host, since which boot of it, as which process."""

    purpose: str
    host: str
    boot: str
    pid: int

    def __str__(self) -> str:
        return f"{self.purpose} (process {self.pid} on {self.host})"


class SyncLock:
    """The lock while it is held; `file` is inherited by bandersnatch."""

    def __init__(self, file: BinaryIO, path: Path, holder: Holder) -> None:
        self.file = file
        self._path = path
        self._holder = holder

    def check(self) -> None:
        """Raise SyncError if another host took the lock over, which it does if this one seemed dead."""
        there = _read(self._path)
        if there != self._holder:
            raise SyncError(f"the lock {self._path} was taken over by {there or 'somebody'}: this sync stops")

    def touch(self) -> None:
        """Show that this process lives."""
        os.utime(self.file.fileno())


@contextmanager
def sync_lock(mirror_root: Path, purpose: str, *, wait_for: str = "", wait_seconds: float = 0) -> Iterator[SyncLock]:
    """Hold the lock of the mirror; raises SyncRunningError if somebody else does.

    If that one's purpose is `wait_for` (or "any"), it is waited for, up to `wait_seconds`.
    """
    path = mirror_root / ".sync-lock"
    me = Holder(purpose, socket.gethostname(), _boot(), os.getpid())
    file = _acquire(path, me, wait_for, wait_seconds)
    lock, done = SyncLock(file, path, me), threading.Event()

    def live() -> None:
        while not done.wait(TOUCH_SECONDS):
            lock.touch()

    touching = threading.Thread(target=live, daemon=True)
    touching.start()
    try:
        yield lock
    finally:
        done.set()
        touching.join()
        if _read(path) == me:
            file.truncate(0)  # the file stays: who waits for it waits for this very file
        file.close()


def _acquire(path: Path, me: Holder, wait_for: str, wait_seconds: float) -> BinaryIO:
    deadline = time.monotonic() + wait_seconds
    while True:
        file = path.open("a+b")
        try:
            _take(file, path, me)
        except SyncRunningError:
            file.close()
            holder = _read(path)
            waited_for = wait_for == "any" or (holder is not None and holder.purpose == wait_for)
            if not waited_for or time.monotonic() >= deadline:
                raise
            time.sleep(_WAIT_STEP_SECONDS)
        except BaseException:
            file.close()
            raise
        else:
            return file


def _take(file: BinaryIO, path: Path, me: Holder) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SyncRunningError(
            f"{_read(path) or 'another process'} holds {path}; it will finish by itself, or end its bandersnatch"
        ) from None
    before = _read(path)
    if before is not None and before.host != me.host and before.boot != me.boot:  # else it was refused, or is dead
        silent = (filesystem_time_ns(path.with_name(".sync-time")) - path.stat().st_mtime_ns) / 1e9
        if silent < STALE_SECONDS:
            raise SyncRunningError(
                f"{before} holds {path}, and gave a sign of life {silent:.0f} seconds ago; if it is dead, its lock "
                f"ends {STALE_SECONDS - silent:.0f} seconds from now"
            )
    if before is not None:
        log.warning("%s died without giving back %s: it is taken over", before, path)
    file.truncate(0)
    file.write(msgspec.json.encode(me))
    file.flush()
    os.fsync(file.fileno())


def _read(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
