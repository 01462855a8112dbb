"""Read the record of one package from a published scan, with one range request, or from a directory.

python -m pypi_scan.read_package https://cdn.example/pypi_datasets/2026-11-01 requests | jq .score
"""

import argparse
import http.client
import io
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from pypi_scan.dataset_index import DATASET, INDEX, DatasetIndex
from pypi_scan.frames import MAX_WINDOW_BYTES
from pypi_scan.names import HostileInputError, canonical_name, printable
from pypi_scan.results import MAX_RECORD_BYTES

_MAX_READ = 1024**3  # bytes of the index, or of a frame
_TIMEOUT = 60.0  # seconds a connection may be silent


class ReadError(Exception):
    """The record cannot be read; the message says what, why and what to do."""


class _Origin(msgspec.Struct):
    name: str


class _Named(msgspec.Struct):
    """What of a record tells whose it is."""

    pypi: _Origin


_named = msgspec.json.Decoder(_Named)


def record_line(frame: bytes, name: str) -> bytes | None:
    """Return the line of a frame with the record of the package of this canonical name, None if it has none.

    Raises ReadError for a damaged frame.
    """
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(frame)
        lines = io.BufferedReader(reader)
        while line := lines.readline(MAX_RECORD_BYTES):
            if _named.decode(line).pypi.name == name:
                return line
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReadError(f"a frame is damaged: {printable(error)}") from error
    return None


class Dataset:
    """A scan's dataset at an http(s) URL or in a directory, both those that hold ``dataset.index.json``.

    The index is read once, some 15 MB for all of PyPI; keep the object to read several packages.
    """

    def __init__(self, location: str) -> None:
        self._location = location.rstrip("/")
        try:
            self._index = msgspec.json.decode(self._read(INDEX), type=DatasetIndex)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ReadError(f"{self._location}/{INDEX} is not the index of a dataset: {printable(error)}") from error
        if self._index.dataset != DATASET:
            raise ReadError(f"{self._location}/{INDEX} is the index of {self._index.dataset!r:.80}, not of {DATASET}")

    def record(self, package: str) -> dict[str, Any]:
        """Return the record of a package, by any spelling of its name.

        Raises ReadError if the dataset has none, or cannot be read.
        """
        try:
            name = canonical_name(package)
            offset, length = self._index.frames[self._index.packages[name]]
        except HostileInputError as error:
            raise ReadError(str(error)) from error
        except (KeyError, IndexError):
            raise ReadError(
                f"{self._location} has no record of {package}; packages.jsonl.zst there says how its scan ended"
            ) from None
        if length > _MAX_READ:
            raise ReadError(f"{self._location}/{INDEX} is wrong: a frame of {length} bytes")
        frame = self._read(DATASET, offset, length)
        try:
            line = record_line(frame, name)
            if line is not None:
                record: dict[str, Any] = json.loads(line)
                return record
        except (ReadError, ValueError, RecursionError) as error:
            raise ReadError(f"{self._location}/{DATASET} is damaged at byte {offset}: {printable(error)}") from error
        raise ReadError(f"{self._location}/{INDEX} is wrong: the record of {name} is not at byte {offset}")

    def _read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a file of the dataset, or `length` bytes of it; what is over `_MAX_READ` is cut off."""
        where = f"{self._location}/{name}"
        try:
            if not self._location.startswith(("http://", "https://")):
                with Path(where).open("rb") as file:
                    file.seek(offset)
                    content = file.read(_MAX_READ if length is None else length)
            else:
                content = _download(where, offset, length)
        except (OSError, http.client.HTTPException) as error:
            raise ReadError(f"{where} cannot be read: {error}; is that the directory or URL of a scan?") from error
        if length is not None and len(content) != length:
            raise ReadError(
                f"{where} gave {len(content)} bytes from {offset}, not {length}; it is not what was indexed"
            )
        return content


def _download(url: str, offset: int, length: int | None) -> bytes:
    headers = {} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - only http and https come here
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
        if length is not None and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            raise OSError("the server does not answer range requests")
        content: bytes = response.read(_MAX_READ if length is None else length)
    return content


def main() -> None:
    """Print one record as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m pypi_scan.read_package", description=__doc__.splitlines()[0])
    parser.add_argument("location", help="URL or directory of a scan")
    parser.add_argument("package", help="its name, in any spelling")
    arguments = parser.parse_args()
    try:
        record = Dataset(arguments.location).record(arguments.package)
    except ReadError as error:
        sys.exit(f"read_package: {error}")
    json.dump(record, sys.stdout, separators=(",", ":"))  # in ASCII: a terminal would obey some of the characters
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
