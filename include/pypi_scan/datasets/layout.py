"""Where the datasets lie below their directory, and how they are compressed: atomically, with reproducible bytes."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pypi_scan.files import atomic_write

EXTRACT = "extract.jsonl"

# The names under which consumers have always fetched the published files.
PACKAGE_LIST = "pypi_package_list.gz"
DEPENDENCIES = "dependency_list.gz"
REVERSE_DEPENDENCIES = "reverse_dependencies.gz"
DOWNLOAD_STATS = "pypi_download_stats.gz"
DOWNLOAD_STATS_ORIGIN = "pypi_download_stats.json"
AURA_DATASET = "aura_dataset.tgz"
CHECKSUMS = "md5_checksums.txt"


def public_directory(directory: Path) -> Path:
    """Return where, below the datasets' `directory`, the files to publish lie; nothing else lies there."""
    return directory / "public"


def aura_dataset_file(directory: Path) -> Path:
    """Return where, below the datasets' `directory`, the aura_dataset lies once it was made."""
    return public_directory(directory) / AURA_DATASET


@contextmanager
def atomic_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """Open `path` for writing bytes that are compressed, with neither time nor file name in the header.

    Readers see the old content until the block has ended without an error.
    """
    with (
        atomic_write(path) as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as compressed,
    ):
        yield compressed
