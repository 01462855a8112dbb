"""The shard: what one prefetch and one scan work on.

``shards/0007.jsonl.zst`` holds one JSON line a package::

    {"name": "six", "version": "1.17.0",
     "files": [{"path": "packages/ab/cd/<hash>/six-1.17.0.tar.gz", "sha256": "<64 hex>", "size": 34031,
                "upload_time": "2024-12-04T17:35:26Z"}],
     "json": {"info": {...}, "releases": {"1.17.0": [...]}, "urls": [...]},
     "block": 0, "cost": 1.25, "known": true}

Packages of the same block are compressed together, and never with those of another; ``cost`` is how many CPU seconds
the scan is predicted to take; ``known`` is there where the control host has the record from an earlier scan.

The control host wrote it, but names and paths in it come from upstream, so they are checked again here, where they
become paths of this machine.
"""

import hashlib
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from program import ProgramError

_CANONICAL_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_ALLOWED = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\\?#]"
)
_MAX_NAME = 250  # bytes; "<name>.json" is a file name
_MAX_COMPONENT = 255  # bytes; the limit of every file system a cache lives on


class RefusedError(ValueError):
    """A name, path or digest that is not safe to use, or an entry that is not what it should be."""


@dataclass(frozen=True)
class ReleaseFile:
    """One file of the release. `path` is relative to the mirror's ``web/``; `size` is in bytes."""

    path: str
    sha256: str
    size: int
    upload_time: str | None


@dataclass(frozen=True)
class Package:
    """One line of a shard.

    `seq` is its 1-based place in the shard. `refused` is the reason why the package cannot be handled, or None; only
    if it is None have `name` and every path of `files` been found safe. `refused_files` are (path, reason) of single
    files that were left out of `files`. `document` is the trimmed JSON document of the package. `cost` is in CPU
    seconds, None if nothing is predicted.
    """

    seq: int
    name: str
    version: str | None
    files: tuple[ReleaseFile, ...]
    document: dict[str, Any]
    refused: str | None = None
    refused_files: tuple[tuple[str, str], ...] = ()
    block: int = 0
    cost: float | None = None
    known: bool = False


@dataclass(frozen=True)
class Shard:
    """A whole shard: `label` is its number as in the file name, `sha256` the digest of the file."""

    label: str
    sha256: str
    packages: tuple[Package, ...]


def read_shard(path: Path) -> Shard:
    """Read the shard file at `path`.

    A package that cannot be handled comes with `refused` set; ProgramError is raised only if the file is not a shard.
    """
    try:
        data = path.read_bytes()
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            lines = io.TextIOWrapper(stream, encoding="utf-8", newline="\n").readlines()
        packages = tuple(_package(seq, json.loads(line)) for seq, line in enumerate(lines, start=1))
    except (OSError, ValueError, zstandard.ZstdError, RecursionError) as error:
        raise ProgramError(f"the shard {path} cannot be read ({error}); plan the scan again") from error
    names = [package.name for package in packages]
    if len(set(names)) != len(names):
        raise ProgramError(f"the shard {path} names a package twice; plan the scan again")
    return Shard(path.name.split(".")[0], hashlib.sha256(data).hexdigest(), packages)


def check_name(name: str) -> str:
    """Return `name` if it is a project name in the PEP 503 form; raises RefusedError otherwise."""
    if not _CANONICAL_NAME.fullmatch(name):
        raise RefusedError("not a canonical project name")
    if len(name) > _MAX_NAME:
        raise RefusedError(f"a project name of {len(name)} characters")
    return name


def check_path(path: str) -> str:
    """Return `path` if it is a relative file path below ``packages/``; raises RefusedError otherwise.

    Refused are ``.``, ``..`` and empty components, control characters and others that are not seen, lone surrogates,
    backslashes, and the ``?`` and ``#`` that would end the path in a URL.
    """
    parts = path.split("/")
    if parts[0] != "packages" or len(parts) < 2:
        raise RefusedError("not a path below packages/")
    if any(part in ("", ".", "..") for part in parts):
        raise RefusedError("a path with an empty, '.' or '..' component")
    if _NOT_ALLOWED.search(path):
        raise RefusedError("a path with a character that is not allowed")
    if any(len(part.encode()) > _MAX_COMPONENT for part in parts):
        raise RefusedError(f"a path with a component of more than {_MAX_COMPONENT} bytes")
    return path


def _package(seq: int, entry: object) -> Package:
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise ValueError(f"line {seq} is not a package")
    version, document, listed = entry.get("version"), entry.get("json"), entry.get("files")
    block, cost, known = entry.get("block", 0), entry.get("cost"), entry.get("known", False)
    if type(block) is not int or type(known) is not bool or not _is_cost(cost):
        raise ValueError(f"line {seq} has a block, a cost or a mark that is not what it should be")
    files, refused_files, refused = [], [], None
    try:
        check_name(name)
        if not isinstance(version, str | None) or not isinstance(listed, list):
            raise RefusedError("its version or files are not what they should be")
        if not isinstance(document, dict) or not isinstance(document.get("info"), dict):
            raise RefusedError("its JSON document is not what it should be")
    except RefusedError as error:
        return Package(seq, name, None, (), {}, refused=str(error), block=block, cost=cost, known=known)
    for listing in listed:
        try:
            files.append(_release_file(listing))
        except RefusedError as error:
            refused = refused or f"a release file is refused: {error}"
            refused_files.append((str(listing.get("path")) if isinstance(listing, dict) else "", str(error)))
    return Package(
        seq, name, version, tuple(files), document, refused, tuple(refused_files), block=block, cost=cost, known=known
    )


def _is_cost(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < math.inf)


def _release_file(listing: object) -> ReleaseFile:
    if not isinstance(listing, dict):
        raise RefusedError("not an object")
    path, sha256, size, upload_time = (listing.get(key) for key in ("path", "sha256", "size", "upload_time"))
    if not isinstance(path, str):
        raise RefusedError("no path")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise RefusedError("no sha256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise RefusedError("no size")
    if not isinstance(upload_time, str | None):
        raise RefusedError("an upload time that is not a string")
    return ReleaseFile(check_path(path), sha256, size, upload_time)
