"""Writing gzip files atomically, with reproducible bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zlib_ng import gzip_ng_threaded

from pypi_scan.files import atomic_write

_LEVEL = 6  # 9 takes twice as long, every hour, for 2% fewer bytes
_THREADS = 2  # a fixed number, whatever the machine has: the bytes can depend on it


@contextmanager
def atomic_gzip(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes that are compressed, with neither time nor file name in the header.

    Readers see the old content until the block has ended without an error.
    """
    with atomic_write(path) as file:
        compressed: BinaryIO = gzip_ng_threaded.open(  # type: ignore[no-untyped-call]  # the library has no annotations
            file, "wb", compresslevel=_LEVEL, threads=_THREADS
        )
        with compressed:
            yield compressed
