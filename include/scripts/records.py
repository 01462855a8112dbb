"""The record of a package: what the scanner found, in the one form in which the dataset holds it.

The same files and the same scanner give the same bytes: nothing in a record depends on the machine, on its
directories, on time or on the order in which things happened.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import zstandard

import jsonl
from redaction import Key, redact
from shard import Package, ReleaseFile

_FRAME = 8 * 1024 * 1024  # bytes before compression after which a frame ends
_LEVEL = 17  # 19 makes a scan's results 3 % smaller and takes a quarter as long as the scan itself
# Aura puts the archive in front of some locations that have it already: FileStats of every member, for one.
_TWICE = re.compile(r"^(packages/.+\$)\1")
# What the scanner says of a package as such, from its JSON document and the aura_dataset.
OF_PACKAGE = ("PackageInformation", "Typosquatting")
_INTEGERS = range(-(2**63), 2**64)  # what readers of JSON can be expected to hold


class Places:
    """Turns paths of this machine into paths of the mirror, anywhere in a text.

    Below `web` lies the mirror, below `temporary` the directories that archives were unpacked into; `unpacked` maps
    their names to the archives. ``<temporary>/unpacked000001/x/y.py`` becomes ``packages/.../x.whl$x/y.py``.
    """

    def __init__(self, web: Path, temporary: Path, unpacked: dict[str, str]) -> None:
        self._web = f"{web}/"
        self._temporary = f"{temporary}/"
        self._unpacked = unpacked
        self._directory = re.compile(re.escape(self._temporary) + r"(\w+)(/?)")

    def normalise(self, text: str) -> str:
        """Return `text` with every path as the mirror has it."""
        if self._temporary in text:
            text = self._directory.sub(self._archive, text)
        return text.replace(self._web, "")

    def _archive(self, match: re.Match[str]) -> str:
        name, slash = match.groups()
        return self._unpacked.get(name, name) + ("$" if slash else "")


def make_record(
    package: Package,
    scanned: Iterable[ReleaseFile],
    output: dict[str, Any],
    places: Places,
    to_json: Callable[[object], object],
    key: Key | None = None,
) -> dict[str, Any]:
    """Return the record of `package`, of which the files `scanned` were there to be scanned.

    `output` is the scanner's own JSON object; `to_json` turns the objects in it that are not JSON into something that
    is nearer to it. With a `key` it quotes no secrets. The record has the keys of `output` and ``pypi``.
    """
    record: dict[str, Any] = _plain(output, places.normalise, to_json)
    of_package: list[dict[str, Any]] = []
    of_files: list[dict[str, Any]] = []
    for detection in record["detections"]:
        if "location" in detection:
            detection["location"] = _TWICE.sub(r"\1", detection["location"])
        (of_package if detection["type"] in OF_PACKAGE else of_files).append(detection)
    # Each by itself: what is said of a known package is said without a look at its files.
    record["detections"] = _published(of_package, key) + _published(of_files, key)
    record["detections"].sort(key=jsonl.canonical)
    record["imported_modules"].sort()
    record["metadata"]["uri_input"]["package"] = package.name
    record["pypi"] = {
        "name": package.name,
        "version": package.version,
        "files": [
            {"path": file.path, "sha256": file.sha256, "size": file.size, "upload_time": file.upload_time}
            for file in sorted(scanned, key=lambda file: file.path)
        ],
    }
    return record


def package_detections(
    found: list[dict[str, Any]], places: Places, to_json: Callable[[object], object], key: Key | None = None
) -> list[dict[str, Any]]:
    """Return the detections of a record that are of the package as such, as `make_record` has them.

    `found` are the scanner's own of a package whose files it does not look at, others among them.
    """
    plain = _plain([one for one in found if one["type"] in OF_PACKAGE], places.normalise, to_json)
    return sorted(_published(plain, key), key=jsonl.canonical)


def pack(blocks: Iterable[Iterable[bytes]], threads: int) -> Iterator[bytes]:
    """Compress blocks of lines into zstd frames that each hold whole lines of one block; yields them, at least one.

    As many frames as there are `threads` are compressed at a time; the bytes are the same with any number.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[bytes]] = deque()
        for frame in _frames(blocks):
            waiting.append(pool.submit(_compress, frame))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _frames(blocks: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    frames = 0
    for block in blocks:
        frame, size = [], 0
        for line in block:
            frame.append(line)
            size += len(line)
            if size >= _FRAME:
                yield b"".join(frame)
                frame, size, frames = [], 0, frames + 1
        if frame:
            yield b"".join(frame)
            frames += 1
    if not frames:
        yield b""


def _compress(frame: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True, write_checksum=True).compress(frame)


def _published(detections: list[dict[str, Any]], key: Key | None) -> list[dict[str, Any]]:
    return redact(detections, key) if key else detections


def _plain(value: Any, text: Callable[[str], str], to_json: Callable[[object], object]) -> Any:
    """Return `value` made of nothing but what JSON has, and every string through `text`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(jsonl.clean(str(value)))
    if isinstance(value, int):
        return int(value) if value in _INTEGERS else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, dict):
        return {_key(key, text): _item(key, _plain(item, text, to_json)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, text, to_json) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, text, to_json) for item in value), key=jsonl.canonical)
    return _plain(to_json(value), text, to_json)


def _key(key: object, text: Callable[[str], str]) -> str:
    return text(jsonl.clean(key if isinstance(key, str) else jsonl.canonical(key)))


def _item(key: object, item: Any) -> Any:
    # Tags are sets that the scanner has made lists of.
    if key == "tags" and isinstance(item, list):
        item.sort(key=jsonl.canonical)
    return item
