"""``pypi_package_list.gz``: the canonical names of all packages of the mirror, sorted, one a line."""

from pathlib import Path
from typing import TypedDict

from pypi_scan.datasets.extract import read_extract
from pypi_scan.datasets.layout import PACKAGE_LIST, atomic_gzip, public_directory
from pypi_scan.files import atomic_write
from pypi_scan.mirror import Mirror


class PackageListSummary(TypedDict):
    """Count of names."""

    packages: int


def write_package_list(mirror: Mirror, directory: Path) -> PackageListSummary:
    """Write the list to `directory` and, uncompressed, to the mirror's ``web/pypi_package_list.txt`` for scanners."""
    names = [package.name for package in read_extract(directory)]
    content = "".join(f"{name}\n" for name in names).encode("ascii")
    with atomic_gzip(public_directory(directory) / PACKAGE_LIST) as file:
        file.write(content)
    with atomic_write(mirror.web / "pypi_package_list.txt") as served:
        served.write(content)
    return PackageListSummary(packages=len(names))
