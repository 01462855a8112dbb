# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `package_analyzer.Analyzer.run`: the same source is analysed once a package, however often it is in there.

A release is mostly the same source again and again: an sdist, and a wheel for each platform and Python. What Aura finds
by looking into a Python file depends on its content, on its name (``setup.py``) and on some of what is known of it (how
deep it was found, the TLSH it inherits if it is too small to have one); not on where it lies. Where all of these are
the same as for a file before, the detections of that one are taken, with the path of this one put in: of the file
itself and of the long strings in it, which Aura unpacks and scans as files. All else, such as checksums, metadata and
tags by path, is found anew for every file. Nothing is remembered beyond the package, whose process ends with it:
another package's process, which opened files made by an attacker, is not to be trusted with what is said of this one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from aura.analyzers.detections import Detection  # type: ignore[import-untyped]
from aura.analyzers.python.visitor import Visitor  # type: ignore[import-untyped]
from aura.package_analyzer import Analyzer  # type: ignore[import-untyped]
from aura.uri_handlers.base import ScanLocation  # type: ignore[import-untyped]

import faster_literals

# What is known of a file and makes no difference to what is found in its source.
_IRRELEVANT = frozenset({"path", "normalized_path", "package", "package_instance", "tags"})


@dataclass
class _Analysis:
    """What was found in a file that lies at `path` and that Aura calls `name`: in its syntax tree, and in its strings.

    `in_strings` is None as long as it is not known, and where it names the file in a way that cannot be changed.
    """

    path: str
    name: str
    in_tree: list[Any]
    in_strings: list[Any] | None = None


_analyses: dict[Any, _Analysis] = {}


def run(initial_locations: Any) -> Iterator[Any]:
    """Yield the detections of one location, or of several, and of everything that is found in them."""
    locations = [initial_locations] if isinstance(initial_locations, ScanLocation) else list(initial_locations)
    for location in locations:
        yield from Analyzer.run_input_hooks(location=location)
        yield from _scan(location)


def _scan(location: Any) -> Iterator[Any]:
    verdict = location.should_continue()
    if verdict is not True:
        yield verdict
    elif location.location.is_dir():
        for inside in Analyzer.scan_directory(item=location):
            yield from _scan(inside)
    else:
        yield from _scan_file(location)


def _scan_file(location: Any) -> Iterator[Any]:
    location.once = _key(location)
    known = _known(location)
    unpacked, detections = Analyzer.analyze(location=location)
    yield from detections
    if known is not None:
        yield from (_moved(detection, known, location) for detection in known.in_strings or ())
        return
    analysis = _analyses.get(location.once)
    if analysis is None:
        yield from _scan_unpacked(unpacked)
        return
    looked_at = [faster_literals.look_at(literal, location) for literal in location.literals]
    found = [one for one in looked_at if isinstance(one, Detection)]
    found += _scan_unpacked([*unpacked, *(one for one in looked_at if isinstance(one, ScanLocation))])
    if not any(_names_file(detection, analysis) for detection in (*analysis.in_tree, *found)):
        analysis.in_strings = [_copy(detection) for detection in found]
    yield from found


def _scan_unpacked(locations: list[Any]) -> Iterator[Any]:
    for location in locations:
        yield from _scan(location)
        if location.cleanup:
            location.do_cleanup()


def _analyse_tree(cls: Any, /, *, location: Any, **options: Any) -> Any:
    """Stands for `Visitor.run_stages`; what is returned is called for the hits."""
    once = getattr(location, "once", None)
    if once is None or options:  # the tree of a pattern
        return _run_stages(cls, location=location, **options)
    known = _known(location)
    if known is not None:
        return lambda: [_moved(detection, known, location) for detection in known.in_tree]
    with faster_literals.collected() as location.literals:
        found = [hit for hit in _run_stages(cls, location=location)() if hit is not None]
    detections = [_copy(one) for one in found if isinstance(one, Detection)]
    _analyses[once] = _Analysis(os.fspath(location.location), str(location), detections)
    return lambda: found


def _key(location: Any) -> tuple[str, str]:
    known = ((name, value) for name, value in location.metadata.items() if name not in _IRRELEVANT)
    return location.location.name, repr(sorted(known, key=itemgetter(0)))


def _known(location: Any) -> _Analysis | None:
    analysis = _analyses.get(location.once)
    return analysis if analysis is not None and analysis.in_strings is not None else None


def _copy(detection: Any) -> Any:
    copy = object.__new__(type(detection))
    copy.__dict__.update(detection.__dict__, tags=set(detection.tags), node=None)  # the node would hold the whole tree
    return copy


def _moved(detection: Any, known: _Analysis, location: Any) -> Any:
    """Return a copy of `detection`, made of the file of `known`, as it would be of the same file at `location`."""
    moved, name = _copy(detection), str(location)
    moved.signature = detection.signature.replace(known.name, name)
    if isinstance(detection.location, str):
        moved.location = detection.location.replace(known.name, name)  # it can be in there twice
    elif detection.location is not None:
        moved.location = location.location
    if "taint_log" in detection.extra:
        path = os.fspath(location.location)
        log = [{**entry, "path": path} if "path" in entry else entry for entry in detection.extra["taint_log"]]
        moved.extra = {**detection.extra, "taint_log": log}
    return moved


def _names_file(detection: Any, analysis: _Analysis) -> bool:
    """Return whether `detection` names the file elsewhere than where `_moved` looks, or another one."""
    log = detection.extra.get("taint_log", ())
    paths = {entry.get("path", analysis.path) for entry in log}
    if isinstance(detection.location, os.PathLike):
        paths.add(os.fspath(detection.location))
    rest = repr((detection.message, detection.line, {**detection.extra, "taint_log": None}))
    if isinstance(detection.location, str) and not detection.location.startswith(analysis.name):
        return True
    temporary = f"{tempfile.gettempdir()}/"
    return paths > {analysis.path} or temporary in rest or analysis.name in rest or temporary in detection.signature


_run_stages: Any = None


def apply() -> None:
    """Replace it in this process; to be called after what else replaces `Visitor.run_stages`."""
    global _run_stages
    _run_stages = Visitor.run_stages.__func__
    Visitor.run_stages = classmethod(_analyse_tree)
    Analyzer.run = staticmethod(run)
