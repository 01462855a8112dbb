"""The cores of a worker, which scans of several shards share: one package at a time on each.

A shard can end with a package that takes twenty minutes, on one core. So the next one begins when the last package of
the one before has begun, not when it has ended, and takes the cores that are free.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import program


class Cores:
    """So many cores: of this scan alone, or, with a `directory`, of all scans that name the same one."""

    def __init__(self, number: int, directory: Path | None = None) -> None:
        self._files: list[int | None] = [None] * number
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._files = [os.open(directory / f"core-{core:03}", os.O_RDWR | os.O_CREAT) for core in range(number)]
        self._taken: set[int] = set()

    def take(self) -> int | None:
        """Return a core that is free, and is not from now on; None if none is."""
        for core, file in enumerate(self._files):
            if core not in self._taken and _lock(file):
                self._taken.add(core)
                return core
        return None

    def give_back(self, core: int) -> None:
        """Let others have a core."""
        self._taken.remove(core)
        file = self._files[core]
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_UN)

    def forget(self) -> None:
        """Have nothing to do with them, in a child: it must not keep or free what its parent has taken."""
        for file in filter(None, self._files):
            os.close(file)


@contextlib.contextmanager
def turn(directory: Path | None) -> Iterator[contextlib.ExitStack]:
    """Wait until every other scan with the same `directory` has closed what this yields, which is closed at the end."""
    with contextlib.ExitStack() as mine:
        if directory is not None:
            mine.enter_context(program.alone(directory))
        yield mine


def _lock(file: int | None) -> bool:
    if file is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
