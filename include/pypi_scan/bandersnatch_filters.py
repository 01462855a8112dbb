"""Plugins of bandersnatch that refuse what would be written outside the mirror.

bandersnatch joins project names and the paths of file URLs to its directory as upstream sends them. What is refused is
logged as ``Refused: <reason>``, which `pypi_scan.bandersnatch_log` collects. The plugins are found by their entry
points in pyproject.toml and enabled by the configuration that `pypi_scan.bandersnatch_config` makes.
"""

import logging
from typing import Any

from bandersnatch.filter import FilterProjectPlugin, FilterReleaseFilePlugin

from pypi_scan.names import HostileInputError, canonical_name, mirror_path

logger = logging.getLogger("bandersnatch.pypi_scan")


class RefuseHostileNames(FilterProjectPlugin):
    """Keeps out projects whose name is not one."""

    name = "refuse_hostile_names"

    def filter(self, metadata: dict[str, Any]) -> bool:
        """Return whether the project may be mirrored."""
        try:
            canonical_name(metadata["info"]["name"])
        except HostileInputError as error:
            logger.warning("Refused: %s", error)
            return False
        return True


class RefuseHostileFiles(FilterReleaseFilePlugin):
    """Keeps out release files whose URL does not lead below ``packages/``."""

    name = "refuse_hostile_files"

    def filter(self, metadata: dict[str, Any]) -> bool:
        """Return whether the file may be mirrored."""
        try:
            mirror_path(metadata["release_file"]["url"])
        except HostileInputError as error:
            logger.warning("Refused: %.120r: %s", metadata["info"].get("name"), error)
            return False
        return True
