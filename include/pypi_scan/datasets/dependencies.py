"""``dependency_list.gz`` and ``reverse_dependencies.gz``: which package needs which.

Made of the ``requires_dist`` of each package's newest release. What only an extra or an environment marker asks for
counts as a dependency too, and a package that names itself (``pkg[all]`` asking for ``pkg[extra]``) is listed as such.
"""

import logging
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import msgspec
from packaging.requirements import Requirement

from pypi_scan.datasets.extract import read_extract
from pypi_scan.datasets.layout import DEPENDENCIES, REVERSE_DEPENDENCIES, atomic_gzip, public_directory
from pypi_scan.names import canonical_name

logger = logging.getLogger(__name__)


class PackageDependencies(msgspec.Struct, frozen=True):
    """One line of ``dependency_list.gz``; canonical names, the dependencies sorted and unique."""

    package_name: str
    dependencies: list[str]


class DependenciesSummary(TypedDict):
    """Counts: packages with known dependencies, edges between packages, requirements that do not parse."""

    packages: int
    dependencies: int
    unparsable: int


def write_dependencies(directory: Path) -> DependenciesSummary:
    """Write both datasets from the extract in `directory`; a requirement that does not parse is counted and skipped.

    Packages whose document could not be read are left out. The reverse dependencies are one JSON object, {canonical
    name: [canonical names of the packages that need it, sorted]}, without packages that nothing needs.
    """
    packages = edges = unparsable = 0
    dependents: defaultdict[str, list[str]] = defaultdict(list)
    encoder = msgspec.json.Encoder()
    with atomic_gzip(public_directory(directory) / DEPENDENCIES) as file:
        for package in read_extract(directory):
            if package.requires_dist is None:
                continue
            names, skipped = dependency_names(package.requires_dist)
            file.write(encoder.encode(PackageDependencies(package.name, names)) + b"\n")
            for name in names:
                dependents[name].append(package.name)  # stays sorted: the extract is
            packages += 1
            edges += len(names)
            unparsable += skipped
    with atomic_gzip(public_directory(directory) / REVERSE_DEPENDENCIES) as file:
        file.write(encoder.encode(dict(sorted(dependents.items()))) + b"\n")
    logger.info("%d packages, %d dependencies, %d requirements do not parse", packages, edges, unparsable)
    return DependenciesSummary(packages=packages, dependencies=edges, unparsable=unparsable)


def dependency_names(requires_dist: list[str]) -> tuple[list[str], int]:
    """Return the canonical names that these requirements name, sorted and unique, and how many do not parse."""
    names = [_required_name(requirement) for requirement in requires_dist]
    return sorted({name for name in names if name is not None}), names.count(None)


@lru_cache(maxsize=1 << 17)  # parsing is slow (35 us) and most packages need the same few
def _required_name(requirement: str) -> str | None:
    try:
        return canonical_name(Requirement(requirement).name)
    except (ValueError, RecursionError):  # RecursionError: thousands of parentheses in a marker
        return None
