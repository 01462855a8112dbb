"""``dependency_list.gz`` and ``reverse_dependencies.gz``: which package needs which.

Made of the ``requires_dist`` of each package's newest release. What only an extra or an environment marker asks for
counts as a dependency too, and a package that names itself (``pkg[all]`` asking for ``pkg[extra]``) is listed as such.
"""

import logging
from collections import defaultdict
from itertools import batched
from pathlib import Path
from typing import TypedDict

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.extract import read_extract, read_header
from pypi_scan.datasets.layout import DEPENDENCIES, REVERSE_DEPENDENCIES, public_directory
from pypi_scan.datasets.made import make_if_changed

logger = logging.getLogger(__name__)

# Canonical names are ASCII and need no escapes, so JSON is put together of bytes. Both lists are sorted and unique.
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
    dependents: defaultdict[bytes, list[bytes]] = defaultdict(list)
    with atomic_gzip(forward) as file:
        for some in batched(read_extract(directory), _PACKAGES_AT_ONCE):
            lines = []
            for package in some:
                if package.dependencies is None:
                    continue
                lines.append(_LINE % (package.name, package.dependencies))
                for name in _names(package.dependencies):
                    dependents[name].append(package.name)  # stays sorted: the extract is
                    edges += 1
                unparsable += package.unparsable
            file.write(b"".join(lines))
            packages += len(lines)
    with atomic_gzip(reverse) as file:
        entries = (b'"%s":["%s"]' % (name, b'","'.join(dependents[name])) for name in sorted(dependents))
        file.write(b"{%s}\n" % b",".join(entries))
    logger.info("%d packages, %d dependencies, %d requirements do not parse", packages, edges, unparsable)
    return DependenciesSummary(packages=packages, dependencies=edges, unparsable=unparsable)


def _names(dependencies: bytes) -> list[bytes]:
    """Return the names in a JSON list of canonical names; decoding millions of them takes longer than all the rest."""
    return dependencies[2:-2].split(b'","') if len(dependencies) > 2 else []
