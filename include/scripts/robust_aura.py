# SPDX-License-Identifier: GPL-3.0-or-later
"""What fails in Aura costs what failed and no more: it becomes a detection, and the scan goes on.

In Aura one odd string in one file ends the scan of the package, for hardly any exception is caught. The unit here is
one analyzer on one file, and where that walks over a syntax tree one node of it.
"""

import builtins
import csv
import functools
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import magic
from aura import pattern_matching, plugins, python_executor, utils  # type: ignore[import-untyped]
from aura.analyzers import data_finder, find_imports, wheel  # type: ignore[import-untyped]
from aura.analyzers.base import NodeAnalyzerV2  # type: ignore[import-untyped]
from aura.analyzers.python import convert_ast  # type: ignore[import-untyped]
from aura.analyzers.python.jinja import JinjaTemplateVisitor  # type: ignore[import-untyped]
from aura.analyzers.python.pattern_matching_visitor import ASTPatternMatcherVisitor  # type: ignore[import-untyped]
from aura.analyzers.python.rewrite_ast import ASTRewrite  # type: ignore[import-untyped]
from aura.analyzers.python.taint.visitor import TaintAnalysis  # type: ignore[import-untyped]
from aura.analyzers.python.visitor import Visitor  # type: ignore[import-untyped]
from aura.exceptions import PythonExecutorError  # type: ignore[import-untyped]
from aura.uri_handlers import base  # type: ignore[import-untyped]

import unpack
from failures import failure

# Aura's transformations of a tree: methods that take a context and return whether they replaced its node.
_MUTATIONS = (
    "binop",
    "resolve_variable",
    "string_slice",
    "inline_decode",
    "rewrite_function_call",
    "replace_string",
    "unary_op",
    "return_statement",
)

_pending: dict[Path, list[Any]] = {}
"""Detections of files that no analyzer has looked at yet."""


def apply() -> None:
    """Put the replacements in place; to be called last, when all analyzers are loaded: it wraps what it finds."""
    _contain_analyzers()
    _contain_stages()
    _contain_files()
    _stay_inside()
    utils.walk = _walk
    python_executor.open = find_imports.open = _open_source
    base.lookup_lines = _any_lines(base.lookup_lines)
    export = data_finder.DataFinder._DataFinder__export_blob
    data_finder.DataFinder._DataFinder__export_blob = _any_blob(export)


# --- analyzers


def _contain_analyzers() -> None:
    for group in ("aura.input_hooks", "aura.analyzers"):
        found = plugins.PLUGIN_CACHE[group]["entrypoints"]
        for name, analyzer in found.items():
            if isinstance(analyzer, NodeAnalyzerV2):
                _contain_handlers(analyzer, name)
            else:
                found[name] = _contained_analyzer(unpack.analyze if name == "archive" else analyzer, name)
    get_group = plugins.get_analyzer_group

    def get_contained_group(names: list[str] | None) -> Callable[..., Iterator[Any]]:
        run = get_group(names)

        def run_contained(location: Any) -> Iterator[Any]:
            yield from _pending.pop(location.location, ())
            try:
                yield from run(location)
            except Exception as error:  # by whatever was not foreseen: the analyzers of files do not raise any more
                yield from failure(location.location, "ast", error)

        return run_contained

    plugins.get_analyzer_group = get_contained_group


def _contained_analyzer(analyzer: Callable[..., Iterable[Any]], name: str) -> Callable[..., Iterator[Any]]:
    @functools.wraps(analyzer)
    def run(*, location: Any) -> Iterator[Any]:
        try:
            yield from analyzer(location=location)
        except Exception as error:  # whatever a file can make it raise
            yield from failure(location.location, name, error)

    return run


def _contain_handlers(analyzer: Any, name: str) -> None:
    """Contain every method of an analyzer of nodes: it goes on with the next node."""
    for attribute in dir(analyzer):
        if attribute.startswith("node_"):
            setattr(analyzer, attribute, _contained_handler(getattr(analyzer, attribute), name))
    post_analysis = analyzer.post_analysis

    def post_analysis_contained(visitor: Any) -> None:
        try:
            post_analysis(visitor)
        except Exception as error:  # as above
            visitor.hits.extend(failure(visitor.path, name, error))

    analyzer.post_analysis = post_analysis_contained


def _contained_handler(handler: Callable[..., Iterable[Any]], name: str) -> Callable[..., list[Any]]:
    def handle(context: Any) -> list[Any]:
        hits: list[Any] = []
        try:
            hits.extend(handler(context=context))
        except Exception as error:  # as above
            hits.extend(failure(context.visitor.path, name, error))
        return hits

    return handle


# --- the walk over a syntax tree


def lost(visitor: Any, error: Exception) -> None:
    """Note that the stage `visitor` of looking at a tree failed on a node; raises `error` if it ends the scan."""
    names = {stage: name for name, stage in Visitor.get_visitors().items()}
    name = names.get(type(visitor), type(visitor).__name__)
    visitor.hits.extend(failure(visitor.path, f"ast.{name}", error))


def _contain_stages() -> None:
    def contained(function: Callable[..., Any]) -> Callable[..., Any]:
        """Contain a function that takes a visitor, or a context last."""

        @functools.wraps(function)
        def run(*arguments: Any, **keywords: Any) -> Any:
            try:
                return function(*arguments, **keywords)
            except Exception as error:  # as above; to return nothing says that nothing was replaced
                *_, last = (*arguments, *keywords.values())
                lost(getattr(last, "visitor", last), error)

        return run

    def contain(owner: Any, *methods: str) -> None:
        for method in methods:
            setattr(owner, method, contained(getattr(owner, method)))

    for kind, convert in convert_ast.VISITORS.items():
        convert_ast.VISITORS[kind] = contained(convert)
    contain(ASTRewrite, *_MUTATIONS)
    contain(TaintAnalysis, *[name for name in vars(TaintAnalysis) if name.startswith("_TaintAnalysis__")])
    contain(ASTPatternMatcherVisitor, "gen_module_import")
    contain(pattern_matching.ASTPattern, "apply")
    # Aura itself ignores a RecursionError here, and nobody hears of it.
    Visitor._Visitor__process_context = contained(Visitor._Visitor__process_context.__wrapped__)
    for stage in (Visitor, *Visitor.get_visitors().values()):
        if "traverse" in vars(stage):
            contain(stage, "traverse")


# --- files


def _contain_files() -> None:
    # What is found out about a file before an analyzer sees it: with no unit around it but the whole scan.
    find, from_file = find_imports.find_imports, magic.from_file

    def find_imports_or_none(py_src: Path, metadata: dict[str, Any] | None = None) -> Any:
        try:
            return find(py_src, metadata=metadata)
        except PythonExecutorError:
            raise  # of a file that cannot be parsed; Aura expects it
        except Exception as error:  # a module's name can be too long for a file
            _pending.setdefault(py_src, []).extend(failure(py_src, "find_imports", error))
            return None

    def from_file_or_unknown(filename: str, mime: bool = False) -> str:
        try:
            return from_file(filename, mime=mime)
        except magic.MagicException as error:
            _pending.setdefault(Path(filename), []).extend(failure(Path(filename), "magic", error))
            return "application/octet-stream"

    find_imports.find_imports = find_imports_or_none
    magic.from_file = from_file_or_unknown  # type: ignore[assignment]


def _stay_inside() -> None:
    # A wheel's list of its files, or the name of a template, can be the path of any file of this machine: Aura reads
    # it, for ever if it is a device, and reports its checksum.
    from_template = JinjaTemplateVisitor.from_template

    def from_template_inside(context: Any, template_name: str, taints: Any) -> Any:
        return None if Path(template_name).is_absolute() else from_template(context, template_name, taints)

    def read_inside(lines: Iterable[str], **options: Any) -> Iterator[list[str]]:
        for row in csv.reader(lines, **options):
            if row:  # Aura takes every line for a file
                path = Path(row[0])
                outside = path.is_absolute() or ".." in path.parts
                yield [row[0].replace("..", "").lstrip("/"), *row[1:]] if outside else row

    JinjaTemplateVisitor.from_template = from_template_inside
    wheel.csv = SimpleNamespace(reader=read_inside)


def _walk(location: str | Path) -> list[Path]:
    """Return the files below `location`: in order, which the file system does not keep, and however deep they are."""
    files: list[Path] = []
    directories = [Path(location).absolute()]
    while directories:
        for path in directories.pop().iterdir():
            (directories if path.is_dir() else files).append(path)
    return sorted(files)


def _open_source(path: str, mode: str) -> Any:
    """Open a Python source as Python would, by its byte order mark or coding line; Aura takes all to be UTF-8."""
    try:
        with tokenize.open(path) as file:
            return io.StringIO(file.read())
    except (SyntaxError, UnicodeError, LookupError):
        return builtins.open(path, mode, encoding="utf-8")  # noqa: PTH123


def _any_lines(lookup: Callable[..., dict[int, str]]) -> Callable[..., dict[int, str]]:
    def lookup_any(pth: str, line_nos: list[int], **options: Any) -> dict[int, str]:
        try:
            return lookup(pth, line_nos, **options)
        except UnicodeError:  # of a line before those that are asked for, as well
            try:
                with tokenize.open(pth) as file:
                    encoding = file.encoding
            except (SyntaxError, LookupError):
                encoding = "utf-8"
            with Path(pth).open(encoding=encoding, errors="replace") as file:
                return {number: line.strip() for number, line in enumerate(file, start=1) if number in line_nos}

    return lookup_any


def _any_blob(export: Callable[..., Any]) -> Callable[..., Any]:
    def export_any(finder: object, blob: str | bytes, context: object) -> Any:
        # Lone surrogates in a string literal cannot be written as text.
        if isinstance(blob, str):
            try:
                blob.encode()
            except UnicodeEncodeError:
                blob = blob.encode("utf-8", "surrogatepass")
        return export(finder, blob, context)

    return export_any
