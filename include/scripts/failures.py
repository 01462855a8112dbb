# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed in a scan that went on, as a detection of the type ``AnalysisError``: the first of an analyzer on a file.

Running out of memory or of disk is no such failure: the scan ends there, and the status of the package says so.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aura import mirror  # type: ignore[import-untyped]
from aura.analyzers.detections import Detection  # type: ignore[import-untyped]

import outcome

_MAX_MESSAGE = 200  # characters
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_DIRECTORIES = re.compile(r"(?<![\w.:/])/(?:[^/\s'\"]+/)+")

_reported: set[tuple[Path, str]] = set()


def failure(path: Path, analyzer: str, error: Exception) -> Iterator[Any]:
    """Yield the detection that `analyzer` failed on the file at `path`, unless there is one already.

    Raises `error` again if it is one that ends a scan.
    """
    if outcome.ends_scan(error):
        raise error
    if (path, analyzer) in _reported:
        return
    _reported.add((path, analyzer))
    yield Detection(
        detection_type="AnalysisError",
        message=f"The analyzer '{analyzer}' failed",
        extra={"analyzer": analyzer, "exc_type": type(error).__name__, "exc_message": message(error)},
        informational=True,
        signature=f"analysis_error#{analyzer}#{path}",
        location=path,
    )


def message(error: Exception) -> str:
    """Return what `error` says, the same on every machine: short, without addresses and the directories of files."""
    if isinstance(error, RecursionError):
        return "maximum recursion depth exceeded"  # and where it was, which is up to how deep the caller was
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    # The first argument of a UnicodeError is only the name of the encoding.
    text = str(error if isinstance(error, UnicodeError) else error.args[0] if error.args else "")
    for place in (tempfile.gettempdir(), mirror.LocalMirror._mirror_path):
        text = text.replace(f"{place}/", "/")
    return _ADDRESS.sub("0x", _DIRECTORIES.sub("", " ".join(text.split())))[:_MAX_MESSAGE]
