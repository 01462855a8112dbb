"""Looks at what the mirror has of some packages: what is damaged, missing, or not known."""

import hashlib
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec


class Problem(StrEnum):
    """What can be wrong."""

    DOCUMENT = "document"
    PAGE = "page"
    MISSING = "missing"
    DAMAGED = "damaged"


class ExpectedFile(msgspec.Struct, frozen=True):
    """A file as `pypi_scan.expected_files` describes it."""

    path: str
    url: str
    size: int | None
    algorithm: str
    digest: str
    upload_time: str
    wanted: bool


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with a package; `path` is below ``web/``, `file` is what should be there."""

    package: str
    problem: Problem
    path: str
    file: ExpectedFile | None = None

    def __str__(self) -> str:
        return f"{self.package}: {self.problem} {self.path}"


class Inspection(msgspec.Struct):
    """What was found of how much: packages, files and bytes that were read; paths of files that no document names."""

    packages: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = []
    unknown: list[str] = []


def inspect(web: Path, expected: Mapping[str, Collection[Any] | None], *, hash_index: bool) -> Inspection:
    """Compare the tree `web` with what is `expected` of packages, None for those without a readable document.

    A file that is there must be right, one that is `wanted` must be there. With `hash_index` the index pages lie in
    directories by first letter.
    """
    made = Inspection(packages=len(expected))
    for name, described in expected.items():
        page = Path("simple", name[0], name) if hash_index else Path("simple", name)
        if not any(_has_content(web / page / index) for index in ("index.html", "index.v1_json")):
            made.findings.append(Finding(name, Problem.PAGE, str(page)))
        if described is None:
            made.findings.append(Finding(name, Problem.DOCUMENT, f"json/{name}"))
            continue
        files = msgspec.convert(described, list[ExpectedFile])
        for file in files:
            _inspect_file(web, name, file, made)
        known = {web / file.path for file in files}
        directories = {path.parent for path in known}
        there = (path for directory in directories if directory.is_dir() for path in directory.iterdir())
        made.unknown += sorted(str(path.relative_to(web)) for path in there if path.is_file() and path not in known)
    return made


def _inspect_file(web: Path, name: str, file: ExpectedFile, made: Inspection) -> None:
    path = web / file.path
    if not path.is_file():
        if file.wanted:
            made.findings.append(Finding(name, Problem.MISSING, file.path, file))
        return
    size = path.stat().st_size
    made.files += 1
    if file.size is None or size == file.size:
        made.bytes += size
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, file.algorithm).hexdigest() == file.digest:
                return
    made.findings.append(Finding(name, Problem.DAMAGED, file.path, file))


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
