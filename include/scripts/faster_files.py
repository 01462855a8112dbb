# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for what Aura does with every file before it looks into it.

`ScanLocation.create_child` copies, deeply, all that is known of a file for each one found in it, and `__str__` takes
paths apart for every detection. `find_imports` compiles every source file once more, and `TopologySort` compares each
file of a directory with each, to look at files in the order of their imports; on which nothing depends.
`fs_struct.analyze` tries all patterns of paths on every file.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aura import package_analyzer, utils  # type: ignore[import-untyped]
from aura.analyzers import find_imports, fs_struct  # type: ignore[import-untyped]
from aura.uri_handlers.base import ScanLocation  # type: ignore[import-untyped]

_create_child = ScanLocation.create_child
_name = ScanLocation.__str__


def create_child(self: Any, new_location: str | Path, metadata: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return the location of something in `self`. What is known of `self` is shared, but for the entries themselves."""
    if metadata is None:
        metadata = {**self.metadata, "depth": self.metadata["depth"] + 1}
    return _create_child(self, new_location, metadata, **options)


def name(self: Any) -> str:
    """Return how Aura calls a location, which it works out for every detection; only `parent_line` can change later."""
    line_no = self.metadata.get("parent_line")
    known = self.__dict__.get("name_at_line")
    if known is None or known[0] != line_no:
        self.name_at_line = known = line_no, str(_name(self))
    return str(known[1])


def scan_directory(item: Any) -> list[Any]:
    """Return the locations of all files below the directory of `item`."""
    return [
        item.create_child(path, parent=item.parent, strip_path=item.strip_path) for path in utils.walk(item.location)
    ]


class PathPatterns:
    """All of Aura's patterns of paths as one, which remembers the tags of a path below an unpacked archive."""

    def __init__(self, patterns: Iterable[Any]) -> None:
        self._patterns = tuple(patterns)
        self._known: dict[str, frozenset[str]] = {}
        self._signature: dict[str, Any] = {}

    def match(self, location: Any) -> bool:
        """Return that it matches; the tags are in the signature then, where Aura looks for them."""
        _, _, path = location.str_location.removeprefix(f"{tempfile.gettempdir()}/").partition("/")
        if path not in self._known:
            matching = (pattern for pattern in self._patterns if pattern.match(location))
            self._known[path] = frozenset(tag for one in matching for tag in one._signature.get("tags", ()))
        self._signature["tags"] = self._known[path]
        return True


def apply() -> None:
    """Replace them in this process."""
    ScanLocation.create_child = create_child
    ScanLocation.__str__ = name
    package_analyzer.Analyzer.scan_directory = staticmethod(scan_directory)
    find_imports.find_imports = lambda *_, **__: None
    fs_struct.FILE_PATTERNS = (PathPatterns(fs_struct.get_file_patterns()),)
