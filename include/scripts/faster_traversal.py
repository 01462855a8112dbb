# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `aura.analyzers.python.visitor.Visitor.traverse` and the `_visit_node` of every class of nodes.

Aura walks over the whole tree of a file some twenty times, breadth first, and for every node of every walk makes a
context, a function that could replace the node, and asks every rule and every transformation whether it applies. The
walk here takes the same steps in the same order, but keeps a tuple for a node, knows by the class of a node what its
children are and what could apply to it, and makes a context only for what does.

Two things are done better than in Aura. It remembers the nodes it has seen by their address, and takes a new node for
seen that was made at the address of one that is gone; here a node that was seen is kept until the walk is over. And
variables are kept as `faster_scope` has it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from aura.analyzers.detections import Detection  # type: ignore[import-untyped]
from aura.analyzers.python import nodes  # type: ignore[import-untyped]
from aura.analyzers.python.convert_ast import VISITORS as CONVERSIONS  # type: ignore[import-untyped]

from faster_scope import Scope
from robust_aura import lost

# A place in the tree, waiting to be visited: the node; the place it was reached from; the variables known there; the
# function or class it is in; and how to put another node there: put(owner, key, node).
Place = tuple[Any, Any, Any, Any, Callable[[Any, Any, Any], None], Any, Any]
Act = Callable[[Any, Place], None]
"""What a stage does with the node of a place before its children are looked at: act(visitor, place)."""

_IGNORED = 1  # has no place in the queue
_LEAF = 2  # has a place in the queue, but nothing is done there
_NO_STEPS = (None, None)
_UNKNOWN = nodes.Taints.UNKNOWN


class Queue(deque[Place | None]):
    """The places that wait; None stands for a leaf. Beyond `limit` Aura drops what is to be added."""

    __slots__ = ("kinds", "limit")

    def __init__(self, limit: int, kinds: dict[type, int]) -> None:
        super().__init__()
        self.limit = limit
        self.kinds = kinds


class Context:
    """A place as Aura's own code wants it (`aura.analyzers.python.nodes.Context`)."""

    __slots__ = ("_place", "modified", "node", "visitor")

    def __init__(self, visitor: Any, place: Place) -> None:
        self.visitor = visitor
        self.node = place[0]
        self.modified = False
        self._place = place

    @property
    def parent(self) -> Context | None:
        above = self._place[1]
        return None if above is None else Context(self.visitor, above)

    @property
    def stack(self) -> Any:
        return self._place[2]

    @property
    def scope_closure(self) -> Any:
        return self._place[3]

    @property
    def call_graph(self) -> Any:
        return self.visitor.call_graph

    @property
    def signature(self) -> str:
        return f"{self.visitor.normalized_path}:{self.node.line_no}"

    def replace(self, node: Any) -> None:
        """Put `node` where the node of this context is."""
        _, _, _, _, put, owner, key = self._place
        put(owner, key, node)
        self.visitor.modified = True


def traverse(visitor: Any, acts: dict[type, Act], *, leaves: Iterable[type], calls: bool) -> Any:
    """Walk over the tree of `visitor` until nothing changes any more, as its `convergence` has it; return the tree.

    `acts` says what the stage does with each class of nodes, `leaves` are classes for which neither the stage nor the
    walk itself does anything. Without `calls` the calls of functions are not collected.
    """
    kinds: dict[type, int] = dict.fromkeys((str, int, type(None), type(...)), _IGNORED)
    kinds |= dict.fromkeys((bool, float, complex, bytes, *leaves), _LEAF)
    children = _CHILDREN if calls else _CHILDREN | {nodes.Call: _in_call}
    steps = {kind: (acts.get(kind), children.get(kind)) for kind in acts | children}
    visitor.iteration = 0
    visitor.touched = True
    # Aura walks once more when nothing was modified, in case something was that did not say so: that is `touched`.
    while visitor.iteration == 0 or visitor.modified or (visitor.convergence and visitor.touched):
        if visitor.convergence is not None:
            visitor.convergence = visitor.convergence - 1 if not visitor.modified and visitor.convergence > 0 else 1
        visitor.modified = visitor.touched = False
        _walk(visitor, steps, Queue(visitor.max_queue_size, kinds))
        visitor._post_iteration()
        visitor.iteration += 1
        if visitor.iteration >= visitor.max_iterations:
            visitor.hits.append(
                Detection(
                    detection_type="ASTAnalysisError",
                    message="Maximum AST tree iterations reached",
                    extra={"iterations": visitor.iteration},
                    signature=f"ast_analysis_error#max_iterations#{visitor.location}",
                )
            )
            break
    visitor._post_analysis()
    visitor.traversed = True
    return visitor.tree


def _walk(visitor: Any, steps: dict[type, tuple[Any, Any]], queue: Queue) -> None:
    root = visitor.tree
    if type(root) is dict and "ast_tree" in root:
        root = root["ast_tree"]
    queue.append((root, None, Scope(), None, _put_root, visitor, None))
    seen: dict[int, Any] = {}
    take = queue.popleft
    while queue:
        place = take()
        if place is None:
            continue
        node = place[0]
        if id(node) in seen:
            continue
        seen[id(node)] = node
        act, look = steps.get(type(node), _NO_STEPS)
        try:
            if act is not None:
                act(visitor, place)
            if look is not None:
                look(node, place, queue, visitor)
        except Exception as error:  # whatever a node can make it raise
            lost(visitor, error)


def _put_root(visitor: Any, _key: None, node: Any) -> None:
    visitor.tree = node


def _put_item(owner: Any, key: Any, node: Any) -> None:
    owner[key] = node


def _put_attribute(owner: Any, key: str, node: Any) -> None:
    setattr(owner, key, node)


def _put_and_remember(owner: Any, key: str, node: Any) -> None:
    owner._original = getattr(owner, key)
    setattr(owner, key, node)


def _put_operand(owner: Any, key: str, node: Any) -> None:
    setattr(owner, f"_orig_{key}", getattr(owner, key))
    setattr(owner, key, node)


def _put_argument(call: Any, index: int, node: Any) -> None:
    if isinstance(call.args[index], str):
        call._orig_args[index] = call.args[index]
    call.args[index] = node


def _add(node: Any, place: Place, put: Callable[..., None], owner: Any, key: Any, queue: Queue) -> None:
    """Queue a child of the node at `place`."""
    kind = queue.kinds.get(type(node))
    if kind is None:
        if len(queue) < queue.limit:
            queue.append((node, place, place[2], place[3], put, owner, key))
    elif kind is _LEAF and len(queue) < queue.limit:
        queue.append(None)


def _add_all(elements: list[Any], place: Place, closure: Any, queue: Queue) -> None:
    """Queue the elements of a list that belongs to the node at `place`."""
    stack, append, kind_of, room = place[2], queue.append, queue.kinds.get, queue.limit - len(queue)
    for index, node in enumerate(elements):
        kind = kind_of(type(node))
        if kind is _IGNORED:
            continue
        if room <= 0:
            break
        room -= 1
        append((node, place, stack, closure, _put_item, elements, index) if kind is None else None)


def _in_dict(node: dict[str, Any], place: Place, queue: Queue, _visitor: Any) -> None:
    stack, closure, append, kind_of = place[2], place[3], queue.append, queue.kinds.get
    room = queue.limit - len(queue)
    for key, value in node.items():
        kind = type(value)
        how = kind_of(kind)
        if how is _IGNORED or ((kind is list or kind is tuple) and not value):
            continue
        if kind is dict and len(value) == 1 and (name := value.get("_type")) not in CONVERSIONS:
            if name == "Load":
                continue
            how = _LEAF  # an operator
        if room <= 0:
            break
        room -= 1
        append((value, place, stack, closure, _put_item, node, key) if how is None else None)


def _in_list(node: list[Any], place: Place, queue: Queue, _visitor: Any) -> None:
    _add_all(node, place, place[3], queue)


def _in_body(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add_all(node.body, place, node, queue)


def _in_handler(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add_all(node.body, place, place[3], queue)


def _in_constant(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add(node.value, place, _put_attribute, node, "value", queue)


def _in_dictionary(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    _add_all(node.keys, place, place[3], queue)
    stack, values = place[2], node.values
    for index, value in enumerate(values):
        if type(value) is str and value in stack:
            values[index] = stack[value]
            visitor.touched = True
    _add_all(values, place, place[3], queue)


def _in_elements(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add_all(node.elts, place, place[3], queue)


def _in_var(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    value, name, stack = node.value, node.var_name, place[2]
    kind = queue.kinds.get(type(value))
    taint = getattr(value, "_taint_class", _UNKNOWN)
    if taint is not _UNKNOWN and taint is not node._taint_class:
        node._taint_class = taint
        visitor.touched = True
    _add(name, place, _put_attribute, node, "var_name", queue)
    if kind is not _IGNORED and len(queue) < queue.limit:
        queue.append((value, place, stack.copy(), place[3], _put_attribute, node, "value") if kind is None else None)
    if node.var_type == "assign" and type(name) is str:
        stack[name] = node


def _in_attribute(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add(node.source, place, _put_and_remember, node, "source", queue)


def _in_compare(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add(node.left, place, _put_attribute, node, "left", queue)
    _add_all(node.body, place, place[3], queue)
    _add_all(node.orelse, place, place[3], queue)


def _in_function(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    place[2][node.name] = node
    visitor.call_graph.definitions[node.name] = node
    if len(queue) < queue.limit:
        queue.append((node.args, place, place[2], node, _put_attribute, node, "args"))
    _add_all(node.decorator_list, place, place[3], queue)
    _add_all(node.body, place, node, queue)


def _in_call(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    stack, args, kwargs = place[2], node.args, node.kwargs
    for index, argument in enumerate(args):
        if type(argument) is str:
            try:
                target = stack[argument]
            except KeyError:
                continue
            if target.line_no is not None and target.line_no == node.line_no:
                continue
            node._orig_args[index] = argument
            args[index] = argument = target
            visitor.modified = True
        _add(argument, place, _put_argument, node, index, queue)
    for name, value in kwargs.items():
        if type(value) is str:
            try:
                kwargs[name] = value = stack[value]
            except KeyError:
                continue
            visitor.modified = True
        _add(value, place, _put_item, kwargs, name, queue)
    _add(node.func, place, _put_and_remember, node, "func", queue)


def _in_collected_call(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    name = node.full_name
    if type(name) is str:
        visitor.call_graph[name] = node
    _in_call(node, place, queue, visitor)


def _in_arguments(node: Any, place: Place, _queue: Queue, _visitor: Any) -> None:
    stack = place[2]
    for name in node.args or ():
        if type(name) is str:
            stack[name] = node  # becomes a Container when it is asked for


def _in_import(node: Any, place: Place, _queue: Queue, _visitor: Any) -> None:
    stack = place[2]
    for name in node.names:
        stack[name] = node


def _in_container(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    _CHILDREN[type(node.pointer)](node.pointer, place, queue, visitor)


def _in_operation(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add(node.left, place, _put_operand, node, "left", queue)
    _add(node.right, place, _put_operand, node, "right", queue)


def _in_return(node: Any, place: Place, queue: Queue, visitor: Any) -> None:
    if type(place[3]) is nodes.FunctionDef and place[3].return_nodes.get(node.line_no) is not node:
        place[3].return_nodes[node.line_no] = node
        visitor.touched = True
    _add(node.value, place, _put_attribute, node, "value", queue)


def _in_subscript(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add(node.value, place, _put_attribute, node, "value", queue)
    _add(node.slice, place, _put_attribute, node, "slice", queue)


def _in_print(node: Any, place: Place, queue: Queue, _visitor: Any) -> None:
    _add_all(node.values, place, place[3], queue)


_CHILDREN: dict[type, Callable[[Any, Place, Queue, Any], None]] = {
    dict: _in_dict,
    list: _in_list,
    nodes.Module: _in_body,
    nodes.ClassDef: _in_body,
    nodes.ExceptHandler: _in_handler,
    nodes.Constant: _in_constant,
    nodes.Dictionary: _in_dictionary,
    nodes.List: _in_elements,
    nodes.Var: _in_var,
    nodes.Attribute: _in_attribute,
    nodes.Compare: _in_compare,
    nodes.FunctionDef: _in_function,
    nodes.Call: _in_collected_call,
    nodes.Arguments: _in_arguments,
    nodes.Import: _in_import,
    nodes.Container: _in_container,
    nodes.BinOp: _in_operation,
    nodes.ReturnStmt: _in_return,
    nodes.Yield: _in_return,
    nodes.YieldFrom: _in_return,
    nodes.Subscript: _in_subscript,
    nodes.Print: _in_print,
}
