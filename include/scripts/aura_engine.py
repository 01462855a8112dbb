# SPDX-License-Identifier: GPL-3.0-or-later
"""Aura 2.1 as a library: importing this module loads it, `prepare` makes it warm, `scan` scans one package.

Aura is a command that scans one package and exits, online. What stands in the way of scanning a shard offline, and of
getting the same record every time, is replaced here at run time, each with its reason. A `scan` changes the state of
the process for good: it belongs into a child process that does nothing else.
"""

import functools
import importlib.metadata
import mimetypes
import os
import re
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any, NoReturn

import pkg_resources  # type: ignore[import-untyped]

os.environ.update(
    AURA_CFG=str(Path(__file__).resolve().with_name("aura_config.yaml")),
    AURA_NO_CACHE="1",  # it is keyed by file name alone, and its path leaks into locations
    AURA_NO_PROGRESS="1",
    AURA_ALL_MODULE_IMPORTS="true",  # fills imported_modules, also for mirror://
)
_iter_entry_points = pkg_resources.iter_entry_points


def _entry_points(group: str, name: str | None = None) -> Iterator[pkg_resources.EntryPoint]:
    # The output plugin for SQLite raises on import with a current SQLite, and takes every other output with it.
    return (found for found in _iter_entry_points(group, name) if found.module_name != "aura.output.sqlite")


pkg_resources.iter_entry_points = _entry_points

# Only now: all of these read the environment and the entry points when they are imported.
import magic  # noqa: E402
from aura import (  # type: ignore[import-untyped]  # noqa: E402
    cache,
    commands,
    config,
    github,
    mirror,
    package,
    pattern_matching,
    plugins,
    typos,
    utils,
    worker_executor,
)
from aura.analyzers import fs_struct, requirements_analyzer  # type: ignore[import-untyped]  # noqa: E402
from aura.analyzers.python.visitor import Visitor  # type: ignore[import-untyped]  # noqa: E402
from aura.exceptions import MissingFile, NoSuchPackage, NoSuchRepository  # type: ignore[import-untyped]  # noqa: E402
from aura.output import json as json_output  # type: ignore[import-untyped]  # noqa: E402
from aura.output.base import ScanOutputBase  # type: ignore[import-untyped]  # noqa: E402
from aura.package_analyzer import Analyzer  # type: ignore[import-untyped]  # noqa: E402
from aura.uri_handlers.base import ScanLocation, URIHandler  # type: ignore[import-untyped]  # noqa: E402
from requests.exceptions import HTTPError  # type: ignore[import-untyped]  # noqa: E402

import acceleration  # noqa: E402
import robust_aura  # noqa: E402
import unpack  # noqa: E402
from datasets import Datasets  # noqa: E402

VERSION = importlib.metadata.version("aura-security")
MAX_BYTES, MAX_MEMBERS = unpack.MAX_BYTES, unpack.MAX_MEMBERS  # that archives may unpack to
LIBMAGIC = str(magic.version())  # type: ignore[no-untyped-call]
to_json: Callable[[object], object] = utils.json_encoder
"""Aura's own way to turn what is not JSON into what is."""


@dataclass(frozen=True)
class Scan:
    """What Aura found: its JSON output as Python objects, not all of them plain, with paths of this machine.

    `unpacked` maps the name of each directory below the temporary one to what was unpacked there, as Aura names it:
    ``<path of an archive>``, or ``<path of a source file>:<line>`` for a string literal.
    """

    output: dict[str, Any]
    unpacked: dict[str, str]


def popular_threshold() -> int:
    """Return the number of downloads from which on Aura compares names with a package."""
    return int(typos.threshold_or_default(None))


def prepare(web: Path, datasets: Datasets | None, *, stock: bool = False) -> None:
    """Load all that a scan needs and would load itself, and put the replacements in place.

    `web` is the ``web/`` directory of the mirror tree to scan from. Without `datasets` Aura reports no popularity.
    With `stock` it is not made faster.
    """
    mirror.LocalMirror._mirror_path = web
    _stay_offline()
    _know(datasets)
    _repeat_exactly(web)
    URIHandler.load_handlers()
    ScanOutputBase.from_uri("json")
    plugins.load_entrypoint("aura.input_hooks")
    plugins.load_entrypoint("aura.analyzers")
    Visitor.get_visitors()
    fs_struct.get_file_patterns()
    # As Aura compiles them, but one after the other: no thread of the parent may be around at a fork.
    patterns = config.SEMANTIC_RULES.get("patterns", [])
    cache.ASTPatternCache._AST_PATTERN_CACHE = tuple(map(pattern_matching.ASTPattern, patterns))
    magic.from_buffer(b"loads the database", mime=True)
    if not stock:
        acceleration.apply(VERSION)
    robust_aura.apply()  # last: it wraps what is loaded and replaced by now


def scan(name: str, document: dict[str, Any]) -> Scan:
    """Scan all files of the release that `document`, the package's JSON, names as ``info.version``.

    To be called once in a process, with the temporary directory (``tempfile.tempdir``) its own. Raises whatever Aura
    raises, and RuntimeError if it gives no output.
    """
    outputs: list[dict[str, Any]] = []
    unpacked: dict[str, str] = {}

    def do_cleanup(location: Any) -> None:
        # Aura calls this last, for each directory it unpacked into; the parent removes them all at once.
        unpacked[location.location.name] = str(location).removesuffix("$.")

    def dumps(output: dict[str, Any]) -> str:
        # Caught before it is serialised: Aura's encoder stumbles over bytes that are not UTF-8.
        outputs.append(output)
        return ""

    _serve_only(name, document)
    ScanLocation.do_cleanup = do_cleanup
    json_output.dumps = dumps
    # As `aura scan mirror://<name> -f json -v` has it: -v keeps the informational detections.
    metadata = {
        "format": ["json"], "analyzers": [], "source": "cli", "fork": False, "output_opts": {"verbosity": 2}
    }  # fmt: skip
    commands.scan_uri(f"mirror://{name}", metadata=metadata)
    if len(outputs) != 1:
        raise RuntimeError("Aura gave no output")
    return Scan(outputs[0], unpacked)


def look_at_package(name: str, document: dict[str, Any], files: int) -> list[dict[str, Any]]:
    """Return the detections of a release of so many `files` that Aura has without opening one, as in its JSON output.

    They are of the package as such, once for each file. `document` and the rest is as for `scan`.
    """
    _serve_only(name, document)
    handler = URIHandler.from_uri(f"mirror://{name}")
    location = SimpleNamespace(location=Path(name), metadata=handler.metadata)
    return [hit._asdict() for hit in Analyzer.run_input_hooks(location=location)] * files


def _serve_only(name: str, document: dict[str, Any]) -> None:
    def get_json(_mirror: object, asked: str) -> dict[str, Any]:
        # Of no other package: a record must not depend on which packages happen to be in the same shard.
        if asked != name:
            raise NoSuchPackage(asked)
        return document

    mirror.LocalMirror.get_json = get_json


def _stay_offline() -> None:
    def no_page(**_: object) -> NoReturn:
        raise HTTPError("scans are offline")

    def no_repository(url: str) -> NoReturn:
        raise NoSuchRepository(url)

    def no_network(*_: object) -> NoReturn:
        raise OSError("scans are offline")

    cache.URLCache.proxy = no_page  # Aura takes an HTTPError for "no such package"
    github.GitHub.from_url = no_repository  # anything else it raises ends the scan of a package with a GitHub URL
    socket.socket.connect = no_network  # type: ignore[method-assign]  # and whatever was overlooked
    socket.socket.connect_ex = no_network  # type: ignore[method-assign]


def _know(datasets: Datasets | None) -> None:
    if datasets is None:

        def nothing(*_: object, **__: object) -> NoReturn:
            raise MissingFile("no dataset was given")  # what Aura expects, without a look into the working directory

        config.iter_pypi_stats = package.get_reverse_dependencies = nothing
    else:
        # Aura parses both files anew, whole, for every release file.
        def iter_pypi_stats() -> Iterator[dict[str, Any]]:
            # The packages of the shard come last: those who look for popular names stop at the first of them.
            for name, downloads in (*datasets.popular, *datasets.downloads.items()):
                yield {"package_name": name, "downloads": downloads}

        def get_reverse_dependencies(pkg_name: str) -> list[str]:
            return datasets.dependents.get(pkg_name, [])

        config.iter_pypi_stats = iter_pypi_stats
        package.get_reverse_dependencies = get_reverse_dependencies
    # Whether a pinned requirement is outdated only the whole of PyPI can tell, which a worker does not have; Aura would
    # report each as one that cannot be parsed.
    requirements_analyzer.check_outdated = lambda *_: None


class _Inline:
    """Aura's executor without threads: its analyzers share state, and their order would vary."""

    def __init__(self, *, job_queue: object = None) -> None:
        self._finished: deque[Future[Any]] = deque()

    def submit(self, function: Callable[..., Any], **arguments: Any) -> None:
        future: Future[Any] = Future()
        future.set_result(function(**arguments))
        self._finished.append(future)

    def wait(self) -> None:
        """Everything submitted is finished."""

    def __bool__(self) -> bool:
        return bool(self._finished)

    def __iter__(self) -> Iterator[Future[Any]]:
        while self._finished:
            yield self._finished.popleft()


class _RelativePattern:
    """A compiled pattern that Aura applies to whole paths: only what is not of this machine counts."""

    def __init__(self, pattern: re.Pattern[str], relative: Callable[[PurePath], PurePath]) -> None:
        self._pattern = pattern
        self._relative = relative

    def match(self, path: str) -> re.Match[str] | None:
        return self._pattern.match(str(self._relative(PurePath(path))))


def _repeat_exactly(web: Path) -> None:
    @functools.lru_cache(16)  # Aura asks for the same path once a pattern
    def relative(path: PurePath) -> PurePath:
        if path.is_relative_to(web):
            return path.relative_to(web)
        temporary = tempfile.gettempdir()
        if path.is_relative_to(temporary):
            return PurePath(*path.relative_to(temporary).parts[1:])
        return path

    number = 0

    def mkdtemp(suffix: str | None = None, prefix: str | None = None, dir: str | None = None) -> str:  # noqa: A002
        # Numbered, so that no random name gets into a record; and without the archive's file name in it, which with
        # Aura's prefix can be too long for a file name.
        nonlocal number
        number += 1
        path = os.path.join(tempfile.gettempdir(), f"unpacked{number:06d}")  # noqa: PTH118
        os.mkdir(path, 0o700)  # noqa: PTH102
        return path

    match = pattern_matching.FilePatternMatcher.match

    def match_relative(matcher: object, location: Any) -> Any:
        # Tags by path: a directory `test` of this machine, above the cache, is no sign of test code.
        return match(matcher, SimpleNamespace(location=relative(location.location)))

    worker_executor.AuraExecutor = _Inline
    tempfile.mkdtemp = mkdtemp  # type: ignore[assignment]
    pattern_matching.FilePatternMatcher.match = match_relative
    requirements_analyzer.FILENAME = _RelativePattern(requirements_analyzer.FILENAME, relative)
    mimetypes.init(files=[])  # not this machine's /etc/mime.types
