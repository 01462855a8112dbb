# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `aura.analyzers.python.nodes.Attribute.full_name`.

Where an attribute is taken from something that has no name, Aura makes one of the repr() of the whole expression, which
grows with everything that was resolved into it: three quarters of the time of some packages. All that is ever done with
such a name is to find that it is not one of a rule or a function. So here it is a short one that nothing else has.
"""

from typing import Any

from aura.analyzers.python import nodes  # type: ignore[import-untyped]

UNNAMED = "\0"  # no identifier and no rule has a name that begins like this
_NAMED = frozenset({nodes.Attribute, nodes.Call, nodes.Container, nodes.Var})
_EXPRESSIONS = (nodes.ASTNode, dict, list, tuple)


def of_attribute(node: Any) -> Any:
    """Return the dotted name of an Attribute."""
    if node._full_name is not None:
        return node._full_name
    source = node.source
    if type(source) is str:
        return f"{source}.{node.attr}"
    if type(source) in _NAMED:
        name = source.full_name
        return f"{UNNAMED if isinstance(name, _EXPRESSIONS) else name}.{node.attr}"
    return f"{UNNAMED if isinstance(source, _EXPRESSIONS) else repr(source)}.{node.attr}"


def spell_out(node: Any) -> None:
    """Give an Attribute or Call, if it has no name, the one that Aura makes of the expression it is taken from.

    Aura notes arguments of a function under their names, and these notes can be quoted in a detection.
    """
    name = node.cached_full_name
    if type(name) is str and name.startswith(UNNAMED):
        node._full_name = _spelled(node)


def _spelled(node: Any) -> str:
    if type(node) is nodes.Call:
        return _spelled(node.func)
    source = node.source
    if type(source) in (nodes.Attribute, nodes.Call):
        name = source.full_name
        return f"{_spelled(source) if type(name) is str and name.startswith(UNNAMED) else name}.{node.attr}"
    return f"{source!r}.{node.attr}"


def apply() -> None:
    """Replace it in this process."""
    nodes.Attribute.full_name = property(of_attribute)
