# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `data_finder.DataFinder.__export_blob`: long string literals are looked at where they are, in memory.

Aura writes each to a file in a directory of its own and scans that directory. Of most, descriptions of functions for
one, nothing comes of it but the statistics of the file. Here only a literal that is something else, source or an
archive, is written; of the others the same statistics are made of what is in memory.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any

import magic
import tlsh  # type: ignore[import-not-found]
from aura import config, plugins  # type: ignore[import-untyped]
from aura.analyzers import data_finder, fs_struct, stats  # type: ignore[import-untyped]
from aura.analyzers.base import NodeAnalyzerV2  # type: ignore[import-untyped]

_MAX_BYTES = 2**18  # libmagic looks at so much of a file, and at all of what is in memory
_HASHES = ("md5", "sha1", "sha256", "sha512")
# What Aura finds in files; of a text called `blob` only `stats` has anything to say.
_KNOWN_ANALYZERS = {"archive", "file_analyzer", "pypirc", "req_analyzer", "stats", "wheel"}

_export = data_finder.DataFinder._DataFinder__export_blob
_collected: list["Literal"] | None = None


@dataclass(frozen=True)
class Literal:
    """A string literal of a source file, as it would be in a file of its own, and the line it is on."""

    content: bytes
    line_no: int | None


@contextmanager
def collected() -> Iterator[list[Literal]]:
    """Have the literals that would be written added to a list instead; of each, None is among the hits of the stage."""
    global _collected
    _collected = []
    try:
        yield _collected
    finally:
        _collected = None


def export(finder: Any, blob: str | bytes, context: Any) -> Any:
    """Return the location of the directory with the literal `blob` in it, or None where literals are collected."""
    if _collected is None:
        return _export(finder, blob, context)
    _collected.append(Literal(blob.encode() if isinstance(blob, str) else blob, context.node.line_no))
    return None


def look_at(literal: Literal, location: Any) -> Any:
    """Return the detection of the literal in the file at `location`, or else the location to scan it at."""
    metadata = {**location.metadata, "source": "blob", "parent_line": literal.line_no}
    mime = magic.from_buffer(literal.content, mime=True) if len(literal.content) <= _MAX_BYTES else ""
    as_text = mime.startswith("text/") and "python" not in mime
    deep = location.metadata["depth"] + 2 > int(config.CFG["aura"].get("max-depth", 5))  # a directory and a file in it
    if deep or not (as_text or mime == "application/octet-stream"):
        node, visitor = SimpleNamespace(line_no=literal.line_no), SimpleNamespace(location=location)
        return _export(None, literal.content, SimpleNamespace(node=node, visitor=visitor))
    unknown = mime in ("text/plain", "text/none", "application/octet-stream")
    metadata |= {name: hashlib.new(name, literal.content).hexdigest() for name in _HASHES}
    metadata["mime"] = None if unknown else mime
    similarity = tlsh.hash(literal.content)
    if similarity not in ("", "TNULL"):  # else it is that of the file, as Aura has it
        metadata["tlsh"] = similarity
    place = str(location) if literal.line_no is None else f"{location}:{literal.line_no}"
    file = _File(f"{place}$blob", metadata, len(literal.content))
    (detection,) = stats.analyze(location=file)
    detection.location = f"{place}${file}"  # the way Aura puts the file in front
    detection._metadata = metadata
    return detection


@dataclass(frozen=True)
class _File:
    """As much of a location as the statistics need."""

    name: str
    metadata: dict[str, Any]
    size: int
    parent: None = None

    def __str__(self) -> str:
        return self.name


def apply() -> None:
    """Replace it in this process, if nothing but the known analyzers looks into files; they have to be loaded."""
    analyzers = plugins.PLUGIN_CACHE["aura.analyzers"]["entrypoints"]
    of_files = {name for name, analyzer in analyzers.items() if not isinstance(analyzer, NodeAnalyzerV2)}
    blob = SimpleNamespace(location=PurePath("blob"), str_location="blob")
    tagged = any(pattern.match(blob) and pattern._signature.get("tags") for pattern in fs_struct.get_file_patterns())
    if of_files <= _KNOWN_ANALYZERS and not tagged:
        data_finder.DataFinder._DataFinder__export_blob = export
