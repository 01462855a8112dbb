"""Prints what files the mirror shall have of some packages: ``expected_files.py bandersnatch.conf``.

Standard input holds a JSON list of canonical names; what is printed is a JSON object, {name: list of files}, or null
for a package whose JSON document in the mirror cannot be read. A file has its ``path`` below ``web/``, ``url``,
``digest`` and the ``algorithm`` of that, ``size`` (null if not known), ``upload_time``, and whether it is ``wanted``: a
document lists every release, and bandersnatch's filters, which are asked here, leave some out.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandersnatch.configuration import BandersnatchConfig
from bandersnatch.filter import LoadedFilters
from bandersnatch.package import Package
from bandersnatch.utils import find_core_metadata_digest

from pypi_scan.names import HostileInputError, mirror_path


def expected_files(config_file: Path, names: list[str]) -> dict[str, list[dict[str, Any]] | None]:
    """Return what is to be printed."""
    config = BandersnatchConfig(config_file)["mirror"]
    documents = Path(config["directory"]) / "web" / "json"
    core_metadata = config.getboolean("core-metadata", fallback=True)
    filters = LoadedFilters(load_all=True)
    expected: dict[str, list[dict[str, Any]] | None] = {}
    for name in names:
        try:
            document = json.loads((documents / name).read_bytes())
            package = Package.from_metadata(document)
            files = [file for release in package.releases.values() for file in release]
            wanted = _wanted_urls(package, filters)
            expected[name] = [each for file in files for each in _described(file, wanted, core_metadata)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            expected[name] = None
    return expected


def _wanted_urls(package: Any, filters: Any) -> set[str]:
    """Return the URLs that bandersnatch would fetch; `package` has no other files then."""
    project = {"info": {"name": package.name}}
    if not all(plugin.filter(project) for plugin in filters.filter_project_plugins()):
        return set()
    if not package.filter_metadata(filters.filter_metadata_plugins()):
        return set()
    package.filter_all_releases_files(filters.filter_release_file_plugins())
    package.filter_all_releases(filters.filter_release_plugins())
    return {file["url"] for file in package.release_files}


def _described(file: dict[str, Any], wanted: set[str], core_metadata: bool) -> Iterator[dict[str, Any]]:
    try:
        path = mirror_path(file["url"])
    except HostileInputError:
        return
    common = {"upload_time": file["upload_time_iso_8601"], "wanted": file["url"] in wanted}
    sha256 = {"algorithm": "sha256", "digest": file["digests"]["sha256"]}
    yield {"path": path, "url": file["url"], "size": file["size"], **sha256, **common}
    if core_metadata and (found := find_core_metadata_digest(file, "sha256")):
        algorithm, digest = found
        beside = {"path": f"{path}.metadata", "url": f"{file['url']}.metadata", "size": None}
        yield {**beside, "algorithm": algorithm, "digest": digest, **common}


if __name__ == "__main__":
    json.dump(expected_files(Path(sys.argv[1]), json.load(sys.stdin)), sys.stdout)
