"""``dependency_list.gz`` and ``reverse_dependencies.gz``: which package needs which.

Made of the ``requires_dist`` of each package's newest release. What only an extra or an environment marker asks for
counts as a dependency too, and a package that names itself (``pkg[all]`` asking for ``pkg[extra]``) is listed as such.
"""

import logging
from collections import defaultdict
from itertools import batched
from pathlib import Path
from typing import TypedDict

import msgspec

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.extract import read_extract, read_header
from pypi_scan.datasets.layout import DEPENDENCIES, REVERSE_DEPENDENCIES, public_directory
from pypi_scan.datasets.made import make_if_changed

logger = logging.getLogger(__name__)

# A canonical name is ASCII and needs no escape; the dependencies are a JSON list of such names, sorted and unique.
_LINE = b'{"package_name":"%s","dependencies":%s}\n'
_PACKAGES_AT_ONCE = 10_000


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
    public = public_directory(directory)
    files = [public / DEPENDENCIES, public / REVERSE_DEPENDENCIES]
    made_of = read_header(directory).dependencies
    return make_if_changed(
        directory, "dependencies", made_of, files, lambda: _write(directory, *files), DependenciesSummary
    )


def _write(directory: Path, forward: Path, reverse: Path) -> DependenciesSummary:
    packages = edges = unparsable = 0
    dependents: defaultdict[str, list[str]] = defaultdict(list)
    decoder = msgspec.json.Decoder(list[str] | None)
    with atomic_gzip(forward) as file:
        for some in batched(read_extract(directory), _PACKAGES_AT_ONCE):
            lines = []
            for package in some:
                names = decoder.decode(package.dependencies)
                if names is None:
                    continue
                lines.append(_LINE % (package.name.encode("ascii"), package.dependencies))
                for name in names:
                    dependents[name].append(package.name)  # stays sorted: the extract is
                edges += len(names)
                unparsable += package.unparsable
            file.write(b"".join(lines))
            packages += len(lines)
    with atomic_gzip(reverse) as file:
        file.write(msgspec.json.encode(dict(sorted(dependents.items()))) + b"\n")
    logger.info("%d packages, %d dependencies, %d requirements do not parse", packages, edges, unparsable)
    return DependenciesSummary(packages=packages, dependencies=edges, unparsable=unparsable)
