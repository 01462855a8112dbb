"""A sync of very many packages, such as the first, in batches that are kept as files that bandersnatch understands.

After every package bandersnatch writes the list of those still to do, ``todo``, anew: for a whole PyPI at once that
takes days of nothing else. But it also takes up a ``todo`` that it finds, and sets the mirror's serial to what the
first line says. So a large sync is written down as many short such lists below ``<mirror>/batches/``, and each takes
its turn by being renamed to ``todo``: whatever dies at whatever moment, a package is in a list or synced.

    0000000, 0000001, ...   batches; their first line is the serial that the mirror has, which so stays as it is
    end                     no packages; its first line is the serial that upstream had when the lists were made

``end`` is written last, and has its turn last: without it the other lists do not count.
"""

import shutil
from collections.abc import Iterator
from itertools import batched
from pathlib import Path

from pypi_scan.todo_list import Todo, write_todo

BATCH_PACKAGES = 3000
"""About where, for a whole PyPI, starting bandersnatch and making the index page for each batch take as long in all as
writing ``todo`` does: a quarter of an hour each. Fewer take longer by the former, more by the latter."""


class Batches:
    """What is still to do of a large sync of the mirror at `mirror_root` (bandersnatch's ``directory``)."""

    def __init__(self, mirror_root: Path) -> None:
        self._todo = mirror_root / "todo"
        self._lists = mirror_root / "batches"
        self._end = self._lists / "end"

    def begun(self) -> bool:
        """Return whether there are lists that count."""
        return self._end.exists()

    def begin(self, serial: int, whole: Todo) -> None:
        """Write the lists of all packages of `whole`, of a mirror that has `serial`."""
        shutil.rmtree(self._lists, ignore_errors=True)
        self._lists.mkdir()
        for number, names in enumerate(batched(sorted(whole.packages), BATCH_PACKAGES)):
            write_todo(self._lists / f"{number:07}", Todo(serial, {name: whole.packages[name] for name in names}))
        write_todo(self._end, Todo(whole.serial))

    def turns(self) -> Iterator[int]:
        """Put one list after the other in bandersnatch's way, and yield how many come after it."""
        waiting = [*sorted(self._lists.glob("[0-9]*")), self._end]
        for left, each in zip(reversed(range(len(waiting))), waiting, strict=True):
            each.replace(self._todo)
            if not left:
                self._lists.rmdir()
            yield left
