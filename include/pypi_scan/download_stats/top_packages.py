"""The monthly list of the most downloaded packages: the JSON document of top-pypi-packages.

``{"last_update": "2026-11-01 04:31:02", "rows": [{"project": "requests", "download_count": 123}, ...]}``: 15,000 rows,
of the 30 days before `last_update`.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pypi_scan.download_stats.source import (
    WINDOW_DAYS,
    Downloads,
    DownloadStatsError,
    PackageDownloads,
    Statistics,
    Window,
    total_by_name,
)
from pypi_scan.download_stats.web import answer
from pypi_scan.names import HostileInputError, canonical_name


class TopPackagesDocument(msgspec.Struct, frozen=True):
    """The document; its rows are decoded one by one, so that an error can say which."""

    rows: list[msgspec.Raw]
    last_update: Any = None

    @property
    def window(self) -> Window | None:
        """The days that were counted; None if the document does not say."""
        try:
            end = datetime.fromisoformat(self.last_update).date() - timedelta(1)
        except (TypeError, ValueError, OverflowError):
            return None
        return Window(end - timedelta(WINDOW_DAYS - 1), end)


class _Row(msgspec.Struct, frozen=True):
    project: str
    download_count: Downloads


class TopPackages:
    """The document at `url`."""

    name = "top_packages"

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch(self, window: Window) -> Statistics:
        """Return the list as it is, whatever `window` is asked for; raises DownloadStatsError."""
        with answer("GET", self._url, self.name) as body:
            content = b"".join(body)
        try:
            document = msgspec.json.decode(content, type=TopPackagesDocument)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DownloadStatsError(
                f"{self.name}: {self._url} is not a top-pypi-packages document: {error}"
            ) from error
        return top_packages_statistics(document, f"{self.name}: {self._url}")


def top_packages_statistics(document: TopPackagesDocument, where: str) -> Statistics:
    """Return what a document holds; raises DownloadStatsError that names `where` and the row."""
    rows = ((row.package_name, row.downloads) for row in _rows(document, where))
    return Statistics(total_by_name(rows, where), document.window)


def _rows(document: TopPackagesDocument, where: str) -> Iterator[PackageDownloads]:
    decoder = msgspec.json.Decoder(_Row)
    for number, raw in enumerate(document.rows, start=1):
        try:
            row = decoder.decode(raw)
            yield PackageDownloads(canonical_name(row.project), row.download_count)
        except (msgspec.MsgspecError, UnicodeDecodeError, HostileInputError) as error:
            raise DownloadStatsError(
                f'{where}, row {number}: {error}; expected {{"project": ..., "download_count": ...}}'
            ) from error
