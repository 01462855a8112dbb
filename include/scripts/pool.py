"""One forked process a task, a few at a time, each bounded in time, memory and file size.

The parent has everything imported and loaded, so a child starts in milliseconds and what it does to its memory is gone
with it. There is no queue and no pipe: a child leaves its result in files, and all the parent learns is how it ended.
"""

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # prctl(2)
_TICK = 1.0  # seconds between two returns to the caller while nothing ends
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Limits:
    """What one child may use: wall-clock `seconds`, bytes of address space, bytes of any one file it writes."""

    seconds: float
    memory_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class Ended:
    """How a child ended. `started` is in seconds since the epoch, `signal` is 0 if it exited by itself."""

    started: float
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    exit_code: int
    signal: int
    timed_out: bool


@dataclass
class _Child(Generic[T]):
    task: T
    pid: int
    started: float
    began: float  # monotonic
    killed: bool = False


class ForkPool(Generic[T]):
    """Runs `work(task)` in children, `jobs` at a time. `work` says how it went by what it leaves in files."""

    def __init__(self, work: Callable[[T], None], jobs: int, limits: Limits) -> None:
        self._work = work
        self._jobs = jobs
        self.limits = limits
        self._children: dict[int, _Child[T]] = {}

    def run(self, tasks: Sequence[T]) -> Iterator[tuple[T, Ended] | None]:
        """Yield every task with how its child ended, in the order they end, and None about every second.

        When the caller stops early, or an exception passes, all children are killed.
        """
        waiting = list(reversed(tasks))
        old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # sigtimedwait needs it blocked
        try:
            while waiting or self._children:
                while waiting and len(self._children) < self._jobs:
                    self._start(waiting.pop())
                signal.sigtimedwait({signal.SIGCHLD}, self._patience())
                self._kill_overdue()
                for child in [child for child in self._children.values() if _has_ended(child.pid)]:
                    yield child.task, self._reap(child)
                yield None
        finally:
            for child in list(self._children.values()):
                _kill_group(child.pid)
                self._reap(child)
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)

    def _start(self, task: T) -> None:
        parent = os.getpid()
        started, began = time.time(), time.monotonic()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._become_child(parent)
                self._work(task)
                code = 0
            finally:
                os._exit(code)  # nothing of the parent's own clean-up may run here
        self._children[pid] = _Child(task, pid, started, began)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)  # here and in the child: whoever comes first

    def _become_child(self, parent: int) -> None:
        os.setpgid(0, 0)
        # If the parent is killed, so is the child: a scan that is started again must not meet its predecessor.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        _lower(resource.RLIMIT_AS, self.limits.memory_bytes)
        _lower(resource.RLIMIT_FSIZE, self.limits.file_bytes)
        _lower(resource.RLIMIT_CORE, 0)

    def _patience(self) -> float:
        ends = [child.began + self.limits.seconds for child in self._children.values() if not child.killed]
        return max(0.0, min([_TICK, *(end - time.monotonic() for end in ends)]))

    def _kill_overdue(self) -> None:
        for child in self._children.values():
            if not child.killed and time.monotonic() - child.began >= self.limits.seconds:
                child.killed = not _has_ended(child.pid)
                _kill_group(child.pid)

    def _reap(self, child: _Child[T]) -> Ended:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(child.pid)  # what it started; the dead child itself still holds the number of the group
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - child.began
        del self._children[child.pid]
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ended(
            started=child.started,
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=usage.ru_maxrss * 1024,
            exit_code=0 if number else os.WEXITSTATUS(status),
            signal=number,
            timed_out=child.killed and number == signal.SIGKILL,
        )


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _lower(which: int, limit: int) -> None:
    """Set both limits, never above the hard limit that is in force."""
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(which, (limit, limit))
