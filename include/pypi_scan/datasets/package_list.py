"""``pypi_package_list.gz``: the canonical names of all packages of the mirror, sorted, one a line."""

from pathlib import Path
from typing import TypedDict

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.extract import read_header, read_names
from pypi_scan.datasets.layout import PACKAGE_LIST, public_directory
from pypi_scan.datasets.made import make_if_changed
from pypi_scan.files import atomic_write
from pypi_scan.mirror import Mirror


class PackageListSummary(TypedDict):
    """Count of names."""

    packages: int


def write_package_list(mirror: Mirror, directory: Path) -> PackageListSummary:
    """Write the list to `directory` and, uncompressed, to the mirror's ``web/pypi_package_list.txt`` for scanners."""
    target = public_directory(directory) / PACKAGE_LIST
    served = mirror.web / "pypi_package_list.txt"
    names = read_header(directory).names
    return make_if_changed(
        directory,
        "package_list",
        names,
        [target, served],
        lambda: _write(directory, target, served),
        PackageListSummary,
    )


def _write(directory: Path, target: Path, served: Path) -> PackageListSummary:
    names = list(read_names(directory))
    content = "".join(f"{name}\n" for name in names).encode("ascii")
    with atomic_gzip(target) as compressed:
        compressed.write(content)
    with atomic_write(served) as file:
        file.write(content)
    return PackageListSummary(packages=len(names))
