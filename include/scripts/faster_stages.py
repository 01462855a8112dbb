# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for the `traverse` and `_visit_node` of Aura's five stages of looking at a tree.

For each class of nodes a stage is a function that finds out, cheaply, whether any of Aura's transformations or rules
could apply, and only then calls them - in Aura's order, with everything they expect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from aura.analyzers.python import nodes, visitor  # type: ignore[import-untyped]
from aura.analyzers.python.convert_ast import VISITORS as CONVERSIONS  # type: ignore[import-untyped]
from aura.analyzers.python.convert_ast import ASTVisitor
from aura.analyzers.python.crypto import CRYPTO_GEN_KEYS  # type: ignore[import-untyped]
from aura.analyzers.python.nodes import (  # type: ignore[import-untyped]
    Arguments,
    Attribute,
    BinOp,
    Bytes,
    Call,
    Compare,
    Constant,
    FunctionDef,
    Import,
    Number,
    ReturnStmt,
    String,
    Subscript,
    Taints,
    Var,
    Yield,
    YieldFrom,
)
from aura.analyzers.python.pattern_matching_visitor import ASTPatternMatcherVisitor  # type: ignore[import-untyped]
from aura.analyzers.python.readonly import ReadOnlyAnalyzer  # type: ignore[import-untyped]
from aura.analyzers.python.rewrite_ast import ASTRewrite  # type: ignore[import-untyped]
from aura.analyzers.python.taint.visitor import TaintAnalysis  # type: ignore[import-untyped]
from aura.pattern_matching import ASTPattern  # type: ignore[import-untyped]

import faster_names
from faster_traversal import Act, Context, Place, traverse

_LEAVES = (String, Number, Bytes, nodes.Pass, nodes.Continue)
_RETURNS = (ReturnStmt, Yield, YieldFrom)


def apply() -> None:
    """Replace the `traverse` of the stages in this process."""
    ASTVisitor.traverse = _convert
    ASTRewrite.traverse = _rewrite
    ASTPatternMatcherVisitor.traverse = _match_patterns
    TaintAnalysis.traverse = _propagate_taint
    ReadOnlyAnalyzer.traverse = _read
    visitor.Visitor.run_stages = classmethod(_run_stages)


def _run_stages(cls: Any, /, *, location: Any, stages: Any = None, ast_tree: Any = None) -> Any:
    # As Aura does it, without its first walk over the tree, in which it does nothing.
    stage = visitor.Visitor(location=location)
    if ast_tree is None:
        stage.load_tree()
    else:
        stage.tree = ast_tree
    visitors = cls.get_visitors()
    for name in stages or visitor.config.get_ast_stages():
        if name == "raw":
            continue
        if name not in visitors:
            raise ValueError(f"Unknown AST stage: {name}")
        stage = _next_stage(visitors[name], stage)
    return stage


def _next_stage(kind: Any, last: Any) -> Any:
    stage = kind(location=last.location)
    stage.tree, stage.hits = last.tree, last.hits
    stage.functions = last.call_graph.definitions  # that are defined in the file
    stage.traverse()
    return stage


# --- convert: dictionaries become nodes


def _convert(self: Any) -> Any:
    return traverse(self, {dict: _convert_dict}, leaves=_LEAVES, calls=False)


def _convert_dict(stage: Any, place: Place) -> None:
    source, _, _, _, put, owner, key = place
    kind = source.get("_type")
    convert = _COMMON.get(kind)
    if convert is not None:
        put(owner, key, convert(source))
        stage.modified = True
    elif kind in CONVERSIONS:
        CONVERSIONS[kind](Context(stage, place))


def _constant(source: dict[str, Any]) -> Any:
    value = source["value"]
    kind = type(value) if source.get("kind") is None else None
    if kind is str:
        return _node(String, source, value=value, _taint_class=Taints.SAFE)
    if kind is int:
        return _node(Number, source, value=value, _taint_class=Taints.SAFE)
    return _node(Constant, source, value=value, _taint_class=Taints.SAFE)


def _attribute(source: dict[str, Any]) -> Any:
    return _node(
        Attribute,
        source,
        source=source["value"],
        attr=source["attr"],
        action=source["ctx"]["_type"],
        _Attribute__original_source=None,
        _original=source,
    )


def _call(source: dict[str, Any]) -> Any:
    arguments = source["args"]
    named = {keyword["arg"]: keyword["value"] for keyword in source["keywords"]}
    return _node(
        Call, source, func=source["func"], args=arguments, kwargs=named, taints={}, _orig_args=[None] * len(arguments)
    )


def _node(node_class: type, source: dict[str, Any], /, **fields: Any) -> Any:
    """Return a node with these fields at the place of `source`, as the constructors of Aura's classes leave it."""
    node: Any = object.__new__(node_class)
    node.__dict__ = {
        "_full_name": None,
        "_original": None,
        "_docs": None,
        "_converged": False,
        "line_no": source.get("lineno"),
        "col": source.get("col_offset"),
        "end_line_no": source.get("end_lineno"),
        "end_col": source.get("end_col_offset"),
        "tags": set(),
        "_hash": None,
        "_taint_class": Taints.UNKNOWN,
        "_taint_locked": False,
        "_taint_log": [],
        **fields,
    }
    return node


# Those that make up most of a tree, without a context and the calls that a dataclass takes.
_COMMON: dict[Any, Callable[[dict[str, Any]], Any]] = {
    "Name": itemgetter("id"),
    "Expr": itemgetter("value"),
    "Constant": _constant,
    "Attribute": _attribute,
    "Call": _call,
}


# --- rewrite: constants are folded, variables resolved


def _rewrite(self: Any) -> Any:
    return traverse(self, _REWRITES, leaves=_LEAVES, calls=False)


def _rewrite_dict(stage: Any, place: Place) -> None:
    if place[0].get("_type") == "UnaryOp":
        stage.unary_op(Context(stage, place))


def _rewrite_operation(stage: Any, place: Place) -> None:
    left, right = type(place[0].left), type(place[0].right)
    if left is str or right is str or left is Var or right is Var or (left is right and left in (String, Number)):
        stage.binop(Context(stage, place))


def _rewrite_name(field: str) -> Act:
    """Return what to do with a node whose `field` can be the name of a variable."""

    def rewrite(stage: Any, place: Place) -> None:
        name = getattr(place[0], field)
        if type(name) is str and name in place[2]:
            stage.resolve_variable(Context(stage, place))

    return rewrite


def _rewrite_subscript(stage: Any, place: Place) -> None:
    node = place[0]
    value = node.value
    if (type(value) is str and value in place[2]) or type(value) is Var:
        stage.resolve_variable(Context(stage, place))
    if type(node.value) is String:
        stage.string_slice(Context(stage, place))


def _rewrite_return(stage: Any, place: Place) -> None:
    if type(place[0].value) in (str, Var):
        stage.return_statement(Context(stage, place))


def _rewrite_call(stage: Any, place: Place) -> None:
    node = place[0]
    function = node.func
    method = function.attr if type(function) is Attribute and type(function.source) in (String, Bytes) else None
    if method == "decode":
        stage.inline_decode(Context(stage, place))
    if _may_rewrite_call(node, function, place[2]) and stage.rewrite_function_call(Context(stage, place)):
        return
    if method == "replace":
        stage.replace_string(Context(stage, place))


def _may_rewrite_call(node: Any, function: Any, stack: Any) -> bool:
    kind = type(function)
    if kind is Import or (kind is str and function in stack):
        return True
    if kind is Var and type(node._full_name) is str and node._full_name in stack:
        return True
    for argument in node.args:
        if type(argument) is Var:
            return True
    return node.full_name in ("ord", "chr")


_REWRITES: dict[type, Act] = {
    dict: _rewrite_dict,
    BinOp: _rewrite_operation,
    Attribute: _rewrite_name("source"),
    Subscript: _rewrite_subscript,
    Var: _rewrite_name("value"),
    Call: _rewrite_call,
    **dict.fromkeys(_RETURNS, _rewrite_return),
}


# --- ast_pattern_matching: the rules of signatures.yaml


class _Rules:
    """Aura's patterns by what they can match, each in Aura's order."""

    def __init__(self, patterns: Iterable[Any]) -> None:
        self.by_name: dict[type, dict[str, list[Any]]] = {Call: {}, Attribute: {}}
        self.of_imports: list[Any] = []
        self.all_known = True
        for pattern in patterns:
            compiled = pattern._compiled
            for one in compiled if type(compiled) is ASTPattern.AnyOf else (compiled,):
                if type(one) in self.by_name and type(one.cached_full_name) is str:
                    rules = self.by_name[type(one)].setdefault(one.cached_full_name, [])
                elif type(one) is Import:
                    rules = self.of_imports
                else:
                    self.all_known = False
                    return
                if pattern not in rules[-1:]:
                    rules.append(pattern)


_rules: dict[int, _Rules] = {}


def _match_patterns(self: Any) -> Any:
    patterns = self._signatures
    rules = _rules.get(id(patterns)) or _rules.setdefault(id(patterns), _Rules(patterns))
    if not rules.all_known:
        return visitor.Visitor.traverse(self)
    acts: dict[type, Act] = {Import: _match_import(rules)}
    for kind, by_name in rules.by_name.items():
        acts[kind] = _match_named(by_name)
    return traverse(self, acts, leaves=_LEAVES, calls=False)


def _match_named(by_name: dict[str, list[Any]]) -> Act:
    def match(stage: Any, place: Place) -> None:
        node = place[0]
        name = node.cached_full_name  # from here on it stays what it is now
        if type(name) is not str:
            return
        if name in by_name:
            context = Context(stage, place)
            for rule in by_name[name]:
                if rule.match(node):
                    rule.apply(context)
        if name in stage.functions and type(node) is Call:
            for argument in node.args:
                if type(argument) in (Attribute, Call):
                    faster_names.spell_out(argument)

    return match


def _match_import(rules: _Rules) -> Act:
    def match(stage: Any, place: Place) -> None:
        context = Context(stage, place)
        for rule in rules.of_imports:
            if rule.match(place[0]):
                rule.apply(context)
        if stage._report_modules:
            stage.gen_module_import(context)

    return match


# --- taint_analysis


def _propagate_taint(self: Any) -> Any:
    return traverse(self, _TAINTS, leaves=_LEAVES, calls=True)


def _higher(one: Taints, other: Taints) -> bool:
    return one is not other and one > other


def _taint_attribute(stage: Any, place: Place) -> None:
    if getattr(place[0].source, "_taint_class", None) is Taints.TAINTED:
        stage._visit_node(Context(stage, place))


def _taint_variable(stage: Any, place: Place) -> None:
    node = place[0]
    if _higher(getattr(node.value, "_taint_class", Taints.UNKNOWN), node._taint_class):
        stage._visit_node(Context(stage, place))


def _taint_value(stage: Any, place: Place) -> None:
    node = place[0]
    taint = getattr(node.value, "_taint_class", None)
    if taint is not None and _higher(taint, node._taint_class):
        stage._visit_node(Context(stage, place))


def _taint_operation(stage: Any, place: Place) -> None:
    node = place[0]
    for operand in (node.left, node.right):
        taint = getattr(operand, "_taint_class", None)
        if type(operand) is Arguments or (taint is not None and _higher(taint, node._taint_class)):
            stage._visit_node(Context(stage, place))
            return


def _taint_call(stage: Any, place: Place) -> None:
    node = place[0]
    name, own, any_taint = node.cached_full_name, node._taint_class, False
    for part in (*node.args, *node.kwargs.values(), node.func):
        taint = getattr(part, "_taint_class", None)
        if taint is not None:
            any_taint = True
            if _higher(taint, own) or type(part) is Arguments:
                stage._visit_node(Context(stage, place))
                return
    if any_taint and type(name) is str and name in stage.call_graph.definitions:
        stage._visit_node(Context(stage, place))


def _taint_function(stage: Any, place: Place) -> None:
    stage._visit_node(Context(stage, place))


_TAINTS: dict[type, Act] = {
    Attribute: _taint_attribute,
    Call: _taint_call,
    Var: _taint_variable,
    Subscript: _taint_value,
    BinOp: _taint_operation,
    FunctionDef: _taint_function,
    **dict.fromkeys(_RETURNS, _taint_value),
}


# --- readonly: the analyzers that look at nodes

# The names of functions that any analyzer asks for.
_WATCHED = frozenset({*CRYPTO_GEN_KEYS, "setuptools.setup", "jinja2.Environment", "flask.render_template"}) | {
    "requests.auth.HTTPBasicAuth",
    "requests.auth.HTTPDigestAuth",
}


def _is_worth_reading(node: Any) -> bool:
    """Return False if none of the analyzers has anything to say about `node`."""
    kind = type(node)
    if kind is Call:
        function, name = node.func, node.cached_full_name
        return (
            (type(name) is str and name in _WATCHED)
            or "taint_sink" in node.tags
            or (type(function) is Attribute and function.attr == "format" and type(function.source) is String)
        )
    if kind is Var:
        return type(node.value) is String
    if kind is ReturnStmt:
        return node._taint_class is Taints.TAINTED
    if kind is BinOp:
        return type(node.right) is String and node.op in ("mod", "add")
    if kind is Compare:
        return type(node.left) is str
    return kind is not FunctionDef or node.name in ("__reduce__", "__reduce_ex__")


def _read(self: Any) -> Any:
    acts: dict[type, Act] = {}
    for kind in _NODES:
        handlers = [getattr(hook, f"node_{kind.__name__}", None) for hook in self.hooks]
        if any(handlers):
            acts[kind] = _read_with([handler for handler in handlers if handler is not None])
    return traverse(self, acts, leaves=set(_LEAVES) - acts.keys(), calls=False)


def _read_with(handlers: list[Callable[..., Iterable[Any]]]) -> Act:
    def read(stage: Any, place: Place) -> None:
        if _is_worth_reading(place[0]):
            context = Context(stage, place)
            for handler in handlers:
                stage.hits.extend(handler(context=context))

    return read


_NODES = [kind for kind in vars(nodes).values() if isinstance(kind, type) and issubclass(kind, nodes.ASTNode)]
