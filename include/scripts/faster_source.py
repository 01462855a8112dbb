# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `aura.analyzers.python_src_inspector.ast2json`: a syntax tree as dictionaries, in one pass.

Aura reports a file whose tree is too deep for its recursion as one that cannot be parsed. So that the same files are
reported, this one counts the frames that Aura would have used.
"""

import ast
import sys
from typing import Any

from aura.analyzers import python_src_inspector  # type: ignore[import-untyped]

_FRAMES_BELOW = 16  # that are on the stack of Aura's thread when it begins
_SIMPLE = frozenset({str, int, float, bool, type(None)})
_value = python_src_inspector.get_value


def tree_to_dict(tree: ast.AST) -> dict[str, Any]:
    """Return `tree` as nested dictionaries, each with the name of its class as ``_type``; raises RecursionError."""
    return _to_dict(tree, sys.getrecursionlimit() - _FRAMES_BELOW)


def _to_dict(node: ast.AST, frames: int) -> dict[str, Any]:
    if frames < 0:
        raise RecursionError
    data: dict[str, Any] = {"_type": type(node).__name__}
    for name, value in node.__dict__.items():
        kind = type(value)
        if kind in _SIMPLE:
            if name[0] != "_":
                data[name] = value
        elif kind is list:
            data[name] = [_to_dict(item, frames - 3) if isinstance(item, ast.AST) else _value(item) for item in value]
        elif isinstance(value, ast.AST):
            data[name] = _to_dict(value, frames - 2)
        else:
            data[name] = _value(value)
    return data


def apply() -> None:
    """Replace it in this process."""
    python_src_inspector.ast2json = tree_to_dict
