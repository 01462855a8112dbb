"""``aura_dataset.tgz``: what ``aura update`` downloads, exactly the two files that Aura 2.1 extracts by name."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import TypedDict

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.layout import (
    AURA_DATASET,
    DOWNLOAD_STATS,
    REVERSE_DEPENDENCIES,
    public_directory,
)
from pypi_scan.datasets.made import file_digest, make_if_changed


class AuraDatasetSummary(TypedDict):
    """Uncompressed sizes of the members in bytes."""

    reverse_dependencies: int
    pypi_stats: int


def write_aura_dataset(directory: Path) -> AuraDatasetSummary:
    """Pack the published reverse dependencies and download statistics of `directory`.

    Without statistics ``pypi_stats.json`` is an empty file: Aura fails on a missing member, and takes an empty one for
    "nothing is known to be popular".
    """
    public = public_directory(directory)
    sources = [public / REVERSE_DEPENDENCIES, public / DOWNLOAD_STATS]
    made_of = " ".join(file_digest(path) if path.exists() else "none" for path in sources)
    target = public / AURA_DATASET
    return make_if_changed(
        directory, "aura_dataset", made_of, [target], lambda: _write(target, *sources), AuraDatasetSummary
    )


def _write(target: Path, dependents: Path, statistics: Path) -> AuraDatasetSummary:
    reverse_dependencies = gzip.decompress(dependents.read_bytes())
    pypi_stats = gzip.decompress(statistics.read_bytes()) if statistics.exists() else b""
    with (
        atomic_gzip(target) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        _add(archive, "reverse_dependencies.json", reverse_dependencies)
        _add(archive, "pypi_stats.json", pypi_stats)
    return AuraDatasetSummary(reverse_dependencies=len(reverse_dependencies), pypi_stats=len(pypi_stats))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, the mode 0644
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
