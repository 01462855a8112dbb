"""Choosing releases on all cores, in processes of their own; ``python -m pypi_scan.choosers`` is such a process.

They are programs that are started, not a pool of multiprocessing's. An Airflow task is a process forked from one with
threads: a copy of it made by fork would have its signal handlers and its channels to the supervisor, and locks that
nobody opens; spawn and forkserver import the main module again, here Airflow, in each process, and Celery's workers may
not use multiprocessing at all. Besides, these end when the task does, even if that is killed: their pipe is closed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from itertools import batched, pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import msgspec

from pypi_scan.choose import Chosen, choose
from pypi_scan.mirror import Mirror

PART = 1000  # packages that are chosen at a time
MANY = 5000  # packages from which on processes of their own are worth their start, half a second of CPU time each


class ChoosersError(Exception):
    """A process died. The message says how and what to do."""


class _Task(msgspec.Struct, frozen=True):
    """What a process is to do: `parts` are names of packages. `as_of` is an aware datetime."""

    root: str
    as_of: datetime
    parts: list[tuple[str, ...]]


def cores_for(packages: int) -> int:
    """Return how many processes are to choose the releases of so many packages."""
    return len(os.sched_getaffinity(0)) if packages >= MANY else 1


def choose_all(mirror: Mirror, names: Sequence[str], as_of: datetime, processes: int) -> Generator[Chosen]:
    """Yield what is chosen of `names`, PART of them at a time and in order; one process is the caller's own.

    Others are at most a part ahead of what was taken, and end when the generator is closed. Raises ChoosersError.
    """
    parts = list(batched(names, PART))
    if processes == 1:
        yield from (choose(mirror, part, as_of) for part in parts)
        return
    with ExitStack() as stack:
        choosers = [stack.enter_context(_Chooser()) for _ in range(processes)]
        for number, chooser in enumerate(choosers):
            chooser.start(_Task(str(mirror.root), as_of, parts[number::processes]))
        for number in range(len(parts)):
            yield choosers[number % processes].next()


class _Chooser:
    """A process that chooses; it ends with the context."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def start(self, task: _Task) -> None:
        """Give the process its task, once; it takes all of it before it returns anything."""
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(task))
        except ConnectionError:
            self._died()

    def next(self) -> Chosen:
        """Return what is chosen of the next part."""
        try:
            return msgspec.msgpack.decode(self._connection.recv_bytes(), type=Chosen)
        except (EOFError, ConnectionError):
            self._died()

    def _died(self) -> NoReturn:
        code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}, see the log above"
        raise ChoosersError(
            f"a process that reads the mirror's JSON died: {how}; make sure that the machine has a few hundred MB of "
            "memory for each of its cores, then clear the task plan"
        )


def _main(descriptor: int) -> None:
    with ThreadPoolExecutor(1) as ahead, Connection(descriptor) as connection:
        task = msgspec.msgpack.decode(connection.recv_bytes(), type=_Task)
        mirror = Mirror(Path(task.root))
        for names, following in pairwise([*task.parts, ()]):
            ahead.submit(mirror.read_ahead, following)
            connection.send_bytes(msgspec.msgpack.encode(choose(mirror, names, task.as_of)))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
