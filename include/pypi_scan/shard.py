"""The packages that a scan takes, one compact JSON object a line: in the plan by blocks, then divided into shards.

``releases.jsonl.zst`` of a plan has a zstd frame for each block of consecutive packages, sorted by name, a
`PlannedRelease` a line: ``{"files": [{"path", "sha256", "size", "upload_time"}], "json", "name", "version"}``. ``path``
is relative to the mirror's ``web/``. ``json`` is PyPI's document cut down to what Aura reads: ``info.version`` is the
chosen version, ``releases`` and ``urls`` hold that release alone.

``shards/0001.jsonl.zst`` holds whole blocks, in order, a `ShardPackage` a line: the same with ``"block"``, ``"cost"``
and, where the record of the package is there already, ``"known": true``.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from pypi_scan.frames import decompressed
from pypi_scan.record import RecordFile

SHARD_ID = re.compile(r"\d{4}", re.ASCII)

MAX_BLOCK = 128
"""Packages of a block, at most."""

_LEVEL = 3
_READ = 1 << 20  # bytes


class PlannedRelease(msgspec.Struct, frozen=True):
    """The release of a package that a scan takes. Encoded it is canonical JSON, if `json` is."""

    files: list[RecordFile]
    json: msgspec.Raw
    name: str
    version: str


class ShardPackage(PlannedRelease, frozen=True, omit_defaults=True):
    """A package of a shard: `block` counts from 0, `cost` are CPU seconds it may take: the costliest begin.

    The record of a `known` package is there already; the worker only says what changes about it without a release.
    """

    block: int
    cost: float
    known: bool = False

    @property
    def release(self) -> PlannedRelease:
        """The package as the plan has it."""
        return PlannedRelease(self.files, self.json, self.name, self.version)


def block_size(names: int) -> int:
    """Return how many packages make a block if `names` were asked for."""
    return min(MAX_BLOCK, max(1, names // 64))


def compressed_block(packages: Iterable[PlannedRelease]) -> bytes:
    """Return the lines of `packages` as a zstd frame."""
    return compressed_lines(msgspec.json.encode(package) + b"\n" for package in packages)


def compressed_lines(lines: Iterable[bytes]) -> bytes:
    """Return whole lines, each of a package, as a zstd frame."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(b"".join(lines))


def read_blocks(path: Path) -> Iterator[list[PlannedRelease]]:
    """Yield the blocks of a plan, in order."""
    decoder = msgspec.json.Decoder(PlannedRelease)
    for content in _frames(path):
        yield decoder.decode_lines(content)


def read_shard(path: Path) -> Iterator[ShardPackage]:
    """Yield the packages of a shard, in order of name."""
    decoder = msgspec.json.Decoder(ShardPackage)
    for content in _frames(path):
        yield from decoder.decode_lines(content)


def _frames(path: Path) -> Iterator[bytes]:
    """Yield the content of each frame of a file; raises FrameError if it is damaged."""
    with path.open("rb") as file:
        for _, _, content in decompressed(file, _READ, math.inf):
            yield content
