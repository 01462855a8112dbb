"""The first sync of a mirror in batches, kept as files that bandersnatch understands.

After every package bandersnatch writes the list of those still to do, ``todo``, anew: for a whole PyPI at once that
takes days of nothing else. But it also takes up a ``todo`` that it finds, and sets the mirror's serial to what the
first line says. So the first sync is written down as many short such lists below ``<mirror>/first-sync/``, and each
takes its turn by being renamed to ``todo``: whatever dies at whatever moment, a package is in a list or synced.

    0000000, 0000001, ...   batches; their first line is the serial that the mirror has, which so stays as it is
    later                   packages that failed since the lists were last gone through
    end                     no packages; its first line is the serial that upstream had when the lists were made

``end`` is written last, and has its turn last: without it the other lists do not count.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pypi_scan.files import atomic_write_text
from pypi_scan.names import canonical_name

BATCH_PACKAGES = 3000
"""About where, for a whole PyPI, starting bandersnatch and making the index page for each batch take as long in all as
writing ``todo`` does: a quarter of an hour each. Fewer take longer by the former, more by the latter."""


class FirstSync:
    """What is still to do of the first sync of the mirror at `mirror_root` (bandersnatch's ``directory``)."""

    def __init__(self, mirror_root: Path) -> None:
        self.todo = mirror_root / "todo"
        self._lists = mirror_root / "first-sync"
        self._later = self._lists / "later"
        self._end = self._lists / "end"

    def begun(self) -> bool:
        """Return whether there are lists that count."""
        return self._end.exists()

    def begin(self, serial: int, target_serial: int, packages: Mapping[str, int]) -> None:
        """Write the lists of all `packages` (name as upstream spells it -> serial) of a mirror that has `serial`."""
        shutil.rmtree(self._lists, ignore_errors=True)
        self._lists.mkdir()
        lines = [f"{name} {packages[name]}" for name in sorted(packages)]
        for number, start in enumerate(range(0, len(lines), BATCH_PACKAGES)):
            _write(self._batch(number), serial, lines[start : start + BATCH_PACKAGES])
        _write(self._end, target_serial, [])

    def target_serial(self) -> int:
        """Return the serial that the mirror has once all lists are done."""
        return _read(self._end)[0]

    def batches(self) -> Iterator[int]:
        """Put one batch after the other in bandersnatch's way, and yield how many come after it.

        The first is what an interrupted run left; what failed in earlier runs comes last.
        """
        waiting = sorted(self._lists.glob("[0-9]*"))
        if self._later.exists():
            last = self._batch(int(waiting[-1].name) + 1 if waiting else 0)
            self._later.replace(last)
            waiting.append(last)
        if self.todo.exists():
            yield len(waiting)
        for left, batch in zip(reversed(range(len(waiting))), waiting, strict=True):
            batch.replace(self.todo)
            yield left

    def put_off(self, not_found: Collection[str]) -> int:
        """Take the packages that a run left undone off its list, until the lists are next gone through; count them.

        Those that were `not_found` (canonical names) bandersnatch leaves in its list too, but they are done.
        """
        if not self.todo.exists():
            return 0
        serial, left = _read(self.todo)
        failed = [line for line in left if canonical_name(line.split()[0]) not in not_found]
        before = _read(self._later)[1] if self._later.exists() else []
        _write(self._later, serial, [*before, *failed])
        self.todo.unlink()
        return len(failed)

    def end(self) -> None:
        """Leave a last list to bandersnatch, without packages, which sets the serial."""
        self._end.replace(self.todo)
        self._lists.rmdir()

    def _batch(self, number: int) -> Path:
        return self._lists / f"{number:07}"


def _write(path: Path, serial: int, lines: list[str]) -> None:
    atomic_write_text(path, "\n".join([str(serial), *lines]) + "\n")


def _read(path: Path) -> tuple[int, list[str]]:
    serial, *lines = path.read_text(encoding="utf-8").splitlines()
    return int(serial), lines
