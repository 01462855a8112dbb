# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes Aura fast without changing what it finds: the pieces, and when they may be put in its place.

Every piece was written against the source of one version of Aura and is used with that one only. What a piece does
about Aura's results is nothing: `tests/scripts/test_acceleration.py` compares records with and without them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import analyse_once
import faster_files
import faster_literals
import faster_names
import faster_source
import faster_stages
import faster_strings
import faster_typos

WRITTEN_FOR = "2.1"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """What is replaced, why, and how."""

    stands_for: str
    reason: str
    apply: Callable[[], None]


PIECES = {
    "names": Piece(
        "analyzers.python.nodes.Attribute.full_name", "made with repr() of whole expressions", faster_names.apply
    ),
    "stages": Piece(
        "analyzers.python.visitor.Visitor.traverse of the five stages, stack.Stack",
        "twenty walks over each tree, with a context, a closure and sixty patterns for every node",
        faster_stages.apply,
    ),
    "source": Piece(
        "analyzers.python_src_inspector.ast2json", "several calls for every field of every node", faster_source.apply
    ),
    "strings": Piece(
        "analyzers.detect_redos.catastrophic, CharacterRange.overlap, analyzers.python.misc.calculate_entropy",
        "every string is parsed as a regular expression; sets of a million characters",
        faster_strings.apply,
    ),
    "literals": Piece(
        "analyzers.data_finder.DataFinder.__export_blob",
        "a directory and a file for every long string, most of which are descriptions of functions",
        faster_literals.apply,
    ),
    "files": Piece(
        "uri_handlers.base.ScanLocation.create_child and __str__, analyzers.find_imports.find_imports, "
        "package_analyzer.Analyzer.scan_directory, analyzers.fs_struct.get_file_patterns",
        "deep copies, a second compilation and a quadratic sort of files, for an order on which nothing depends",
        faster_files.apply,
    ),
    "typos": Piece(
        "typos.check_name, package.PackageScore.score_pypi_downloads",
        "a name is compared with every popular one, and its downloads are looked for among all, for every file",
        faster_typos.apply,
    ),
    "once": Piece(
        "package_analyzer.Analyzer.run, analyzers.python.visitor.Visitor.run_stages",
        "the files of a release hold the same source again and again",
        analyse_once.apply,
    ),
}
"""In the order in which they are applied: ``once`` wraps what ``stages`` put there."""


def apply(version: str) -> None:
    """Put all pieces in place, in this process, if `version` of Aura is the one they were written for."""
    if version != WRITTEN_FOR:
        log.warning("this is Aura %s and not %s: it runs as it is, several times slower", version, WRITTEN_FOR)
        return
    for piece in PIECES.values():
        piece.apply()
