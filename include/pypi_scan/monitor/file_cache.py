"""Keeps what was read of files, until a file is another one: what syncs and scans leave is replaced, never edited."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import NamedTuple


class SoFar[Value](NamedTuple):
    """The values of the files that were read, and the number of those that are still to be."""

    values: list[Value]
    unread: int


class FileCache[Value]:
    """Values made of files by `make`; those of the `size` files that were asked for last are kept.

    `failures` are what `make` raises, beside OSError, of a file that is not as it should be.
    """

    def __init__(self, make: Callable[[Path], Value], size: int, failures: tuple[type[Exception], ...] = ()) -> None:
        self._make = make
        self._size = size
        self._failures: tuple[type[Exception], ...] = (OSError, *failures)
        self._reader: Thread | None = None
        self._kept: OrderedDict[Path, tuple[tuple[int, ...], Value]] = OrderedDict()
        self._lock = Lock()

    def get(self, path: Path) -> Value:
        """Return the value of a file; raises OSError if it is not there, and what `make` raises."""
        kept = self._kept_of(path)
        if kept is not None:
            return kept
        stamp = _stamp(path)  # before reading: of a file that is replaced meanwhile, the next caller gets the new one
        value = self._make(path)
        with self._lock:
            self._kept[path] = (stamp, value)
            self._kept.move_to_end(path)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def get_soon(self, paths: Iterable[Path], seconds: float) -> SoFar[Value]:
        """Return the values of files as far as they are there after `seconds`; the others are read in the background.

        A file that is not there, or not as it should be, has none, and is tried again by the next call.
        """
        found = {path: self._kept_of(path) for path in paths}
        unread = [path for path, value in found.items() if value is None]
        if unread:
            reader, reads_these = self._read_in_background(unread)
            reader.join(seconds)
            found |= {path: self._kept_of(path) for path in unread}
            over = reads_these and not reader.is_alive()
            unread = [] if over else [path for path in unread if found[path] is None]
        return SoFar([value for value in found.values() if value is not None], len(unread))

    def _read_in_background(self, paths: list[Path]) -> tuple[Thread, bool]:
        """Return the thread that reads, and whether it reads these files: one reads at a time."""
        with self._lock:
            if self._reader is not None and self._reader.is_alive():
                return self._reader, False
            self._reader = Thread(target=self._read, args=[paths], daemon=True, name="scan-monitor")
            self._reader.start()
            return self._reader, True

    def _read(self, paths: list[Path]) -> None:
        for path in paths:
            with suppress(*self._failures):
                self.get(path)

    def _kept_of(self, path: Path) -> Value | None:
        try:
            stamp = _stamp(path)
        except OSError:
            return None
        with self._lock:
            if (found := self._kept.get(path)) is None or found[0] != stamp:
                return None
            self._kept.move_to_end(path)
            return found[1]


def _stamp(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
