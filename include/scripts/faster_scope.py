# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `aura.stack.Stack`: the variables that are known at a place of the source.

Aura copies all of them at every assignment, for what the assigned value may see: quadratic in the length of a file, in
time and in memory. Here a copy is a number: every name keeps its values with the moment each was assigned, and a copy
sees what had been assigned before its own. Parameters and imported names are kept as the node that declares them until
somebody asks; Aura makes a Container for each, at every visit. (Aura opens a new frame for the body of a function, but
closes it before anything of the body is looked at: in effect there is one flat frame.)
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from aura.analyzers.python.nodes import Arguments, Container, Import  # type: ignore[import-untyped]

_DECLARATIONS = (Arguments, Import)
_History = dict[str, tuple[list[int], list[Any]]]
"""For each name the moments at which it was assigned, ascending, and what was."""


class Scope:
    """The variables as they are now."""

    __slots__ = ("_history", "_now")

    def __init__(self) -> None:
        self._history: _History = {}
        self._now = 0

    def __getitem__(self, name: str) -> Any:
        if type(name) is not str:
            raise TypeError("the name of a variable is a string")
        return _value(name, self._history[name][1], -1)

    def __setitem__(self, name: str, value: Any) -> None:
        if type(name) is not str:
            raise TypeError("the name of a variable is a string")
        self._now += 1
        assignments = self._history.get(name)
        if assignments is None:
            self._history[name] = [self._now], [value]
        else:
            assignments[0].append(self._now)
            assignments[1].append(value)

    def __contains__(self, name: str) -> bool:
        if type(name) is not str:
            raise TypeError("the name of a variable is a string")
        return name in self._history

    def copy(self) -> Snapshot:
        """Return the variables as they are now, whatever is assigned here later."""
        return Snapshot(self._history, self._now, {})


class Snapshot:
    """The variables as they were at the moment `then`, and those assigned in this copy since."""

    __slots__ = ("_history", "_own", "_then")

    def __init__(self, history: _History, then: int, own: dict[str, Any]) -> None:
        self._history = history
        self._then = then
        self._own = own

    def __getitem__(self, name: str) -> Any:
        if type(name) is not str:
            raise TypeError("the name of a variable is a string")
        if name in self._own:
            return _value(name, self._own, name)
        moments, values = self._history[name]
        if moments[-1] <= self._then:
            return _value(name, values, -1)
        place = bisect_right(moments, self._then)
        if not place:
            raise KeyError(name)
        return _value(name, values, place - 1)

    def __setitem__(self, name: str, value: Any) -> None:
        if type(name) is not str:
            raise TypeError("the name of a variable is a string")
        self._own[name] = value

    def __contains__(self, name: str) -> bool:
        try:
            self[name]
        except KeyError:
            return False
        return True

    def copy(self) -> Snapshot:
        """Return an independent copy."""
        return Snapshot(self._history, self._then, dict(self._own))


def _value(name: str, values: Any, key: Any) -> Any:
    value = values[key]
    if type(value) in _DECLARATIONS:
        values[key] = value = Container(name=name, pointer=value)
    return value
