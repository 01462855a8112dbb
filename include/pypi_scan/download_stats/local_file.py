"""Download statistics somebody else puts into a file: JSON lines, or the document of top-pypi-packages.

JSON lines ``{"package_name": "requests", "downloads": 123}`` are what a query of the public statistics gives, and what
``pypi_download_stats.gz`` unpacks to.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from pypi_scan.download_stats.source import (
    DownloadStatsError,
    PackageDownloads,
    Statistics,
    Window,
    total_by_name,
)
from pypi_scan.download_stats.top_packages import TopPackagesDocument, top_packages_statistics
from pypi_scan.names import HostileInputError, canonical_name


class LocalFile:
    """The file at `path`."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self, window: Window) -> Statistics:
        """Return what the file holds, whatever `window` is asked for; blank lines are skipped.

        Raises DownloadStatsError that names the line or row: unlike in public logs, a bad one is somebody's mistake.
        """
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise DownloadStatsError(f"{self.name}: the download statistics cannot be read: {error}") from error
        try:
            document = msgspec.json.decode(content, type=TopPackagesDocument)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            lines = ((line.package_name, line.downloads) for line in self._lines(content))
            return Statistics(total_by_name(lines, self.name), window=None)
        return top_packages_statistics(document, f"{self.name}: {self._path}")

    def _lines(self, content: bytes) -> Iterator[PackageDownloads]:
        # Not strict: databases write 64-bit counts as strings, since JavaScript would round them as numbers.
        decoder = msgspec.json.Decoder(PackageDownloads, strict=False)
        for number, line in enumerate(content.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                entry = decoder.decode(line)
                yield PackageDownloads(canonical_name(entry.package_name), entry.downloads)
            except (msgspec.MsgspecError, UnicodeDecodeError, HostileInputError) as error:
                raise DownloadStatsError(
                    f"{self.name}: {self._path}, line {number}: {error}; expected JSON lines "
                    '{"package_name": ..., "downloads": ...} or a top-pypi-packages document'
                ) from error
