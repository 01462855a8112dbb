"""bandersnatch's ``todo``: the packages that are still to be synced, and the serial that the mirror has then.

The first line is the serial, each other line a package's name, as upstream spells it, and the serial of its last
change. bandersnatch takes up a list that it finds, without looking at upstream for more, and writes it anew after every
package that it has synced; once it has synced all, it removes the list and the mirror has the serial.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pypi_scan.files import atomic_write_text
from pypi_scan.names import HostileInputError, canonical_name


class TodoError(Exception):
    """A file does not hold such a list."""


@dataclass(frozen=True)
class Todo:
    """The serial to reach, and name as upstream spells it -> serial of the packages to sync for it."""

    serial: int
    packages: Mapping[str, int] = field(default_factory=dict)

    def canonical(self) -> dict[str, str]:
        """Return canonical name -> name as upstream spells it."""
        return {canonical_name(name): name for name in self.packages}

    def only(self, names: Collection[str]) -> "Todo":
        """Return the list of those of the packages that have one of these canonical names."""
        return Todo(
            self.serial, {name: serial for name, serial in self.packages.items() if canonical_name(name) in names}
        )


def read_todo(path: Path) -> Todo:
    """Read a list; raises FileNotFoundError, and TodoError for a damaged one."""
    try:
        serial, *lines = path.read_text(encoding="utf-8").splitlines()
        packages = {}
        for line in lines:
            name, of_package = line.split()
            canonical_name(name)
            packages[name] = int(of_package)
        return Todo(int(serial), packages)
    except (ValueError, HostileInputError) as error:
        raise TodoError(f"{path} is no list of packages to sync: {error!s:.200}") from error


def write_todo(path: Path, todo: Todo) -> None:
    """Replace the list at `path`."""
    atomic_write_text(path, "".join([f"{todo.serial}\n", *(f"{n} {s}\n" for n, s in todo.packages.items())]))
