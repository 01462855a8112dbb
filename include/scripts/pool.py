"""One forked process a task, a few at a time, each bounded in time, CPU time, memory and file size.

As many run as asked for, fewer while memory is short. The parent has everything imported and loaded, so a child starts
in milliseconds and what it does to its memory is gone with it. There is no queue and no pipe: a child leaves its result
in files, and all the parent learns is how it ended.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import memory
from cores import Cores
from memory import Advice

T = TypeVar("T")

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_TICK = 1.0  # seconds between two returns to the caller while nothing ends
_OWN_CHILDREN = Path("/proc/thread-self/children")
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Limits:
    """What one child may use: wall-clock `seconds`, `cpu_seconds` (rounded up to whole ones), bytes of address space,
    bytes of any one file it writes.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class Ended:
    """How a child ended. `started` is in seconds since the epoch, `signal` is 0 if it exited by itself.

    `postponed`: it was killed because memory was short, and the task is started again later.
    """

    started: float
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    exit_code: int
    signal: int
    timed_out: bool
    postponed: bool


@dataclass
class _Child(Generic[T]):
    task: T
    core: int
    pid: int
    started: float
    began: float  # monotonic
    overdue: bool = False  # and killed for it
    postponed: bool = False  # and killed for that


class ForkPool(Generic[T]):
    """Runs `work(task)` in children, one on each of `cores`. `work` says how it went by what it leaves in files.

    No other is started while less than `memfree` bytes are `available`, and the youngest is killed, to be started
    again later, while less than half of it is; but one always runs.
    """

    def __init__(
        self,
        work: Callable[[T], None],
        cores: Cores,
        limits: Limits,
        memfree: int = 0,
        available: Callable[[], float] = memory.available,
    ) -> None:
        self._work = work
        self._cores = cores
        self.limits = limits
        self._memfree = memfree
        self._available = available
        self._children: dict[int, _Child[T]] = {}
        self.waiting: list[T] = []  # not started, the next one last
        self._strangers: set[int] = set()  # children of this process that are not of the pool

    def run(self, tasks: Sequence[T]) -> Iterator[tuple[T, Ended] | None]:
        """Yield every task with how its child ended, in the order they end, and None about every second.

        A postponed task comes more than once. When the caller stops early, or an exception passes, all children are
        killed.
        """
        self.waiting = list(reversed(tasks))
        self._strangers = _own_children()
        # What a child leaves behind becomes a child of this process and not of init, wherever it has moved to.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # sigtimedwait needs it blocked
        try:
            while self.waiting or self._children:
                while self.waiting and self._advice() is Advice.START and (core := self._cores.take()) is not None:
                    self._start(self.waiting.pop(), core)
                signal.sigtimedwait({signal.SIGCHLD}, self._patience())
                self._kill_overdue()
                if self._advice() is Advice.KILL:
                    self._postpone_youngest()
                for child in [child for child in self._children.values() if _has_ended(child.pid)]:
                    ended = self._reap(child)
                    yield child.task, ended
                    if ended.postponed:
                        self.waiting.append(child.task)
                yield None
        finally:
            for child in list(self._children.values()):
                _kill(child.pid)
                self._reap(child)
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)

    def put_off(self, task: T) -> None:
        """Run a task that has ended once more, after all that wait."""
        self.waiting.insert(0, task)

    def _start(self, task: T, core: int) -> None:
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
        self._children[pid] = _Child(task, core, pid, started, began)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)  # here and in the child: whoever comes first

    def _become_child(self, parent: int) -> None:
        os.setpgid(0, 0)
        self._cores.forget()
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
        cpu_seconds = math.ceil(self.limits.cpu_seconds)
        _lower(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)  # SIGXCPU, so that it tells; then SIGKILL
        _lower(resource.RLIMIT_AS, self.limits.memory_bytes)
        _lower(resource.RLIMIT_FSIZE, self.limits.file_bytes)
        _lower(resource.RLIMIT_CORE, 0)

    def _advice(self) -> Advice:
        return memory.advice(self._available(), self._memfree, len(self._children))

    def _patience(self) -> float:
        ends = [child.began + self.limits.seconds for child in self._children.values() if not child.overdue]
        return max(0.0, min([_TICK, *(end - time.monotonic() for end in ends)]))

    def _kill_overdue(self) -> None:
        for child in self._children.values():
            if not child.overdue and time.monotonic() - child.began >= self.limits.seconds:
                child.overdue = not _has_ended(child.pid)
                _kill(child.pid)

    def _postpone_youngest(self) -> None:
        child = max(self._children.values(), key=lambda child: child.began)
        if not child.overdue and not _has_ended(child.pid):
            child.postponed = True
            _kill(child.pid)

    def _reap(self, child: _Child[T]) -> Ended:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _kill(child.pid)  # what it started; the dead child itself still holds the number of the group
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - child.began
        del self._children[child.pid]
        self._cores.give_back(child.core)
        while orphans := _own_children() - self._strangers - self._children.keys():
            for orphan in orphans:
                _kill(orphan)
                os.waitpid(orphan, 0)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ended(
            started=child.started,
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=usage.ru_maxrss * 1024,
            exit_code=0 if number else os.WEXITSTATUS(status),
            signal=number,
            timed_out=child.overdue and number == signal.SIGKILL,
            postponed=child.postponed and number == signal.SIGKILL,
        )


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(pid: int) -> None:
    """Kill a process, which may have ended, and the group it leads, if any."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _own_children() -> set[int]:
    try:
        return {int(pid) for pid in _OWN_CHILDREN.read_text(encoding="ascii").split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN; the group of each child was killed even so
        return set()


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    """Set both limits, `hard` as `soft` unless given, never above the hard limit that is in force."""
    _, most = resource.getrlimit(which)
    limits = (soft, soft if hard is None else hard)
    if most != resource.RLIM_INFINITY:
        limits = (min(limits[0], most), min(limits[1], most))
    resource.setrlimit(which, limits)
