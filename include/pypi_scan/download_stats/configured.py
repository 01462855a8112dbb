"""The sources that the settings name, in their order."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pypi_scan.download_stats.clickhouse import ClickHouse
from pypi_scan.download_stats.local_file import LocalFile
from pypi_scan.download_stats.source import DownloadStatsError, Source
from pypi_scan.download_stats.top_packages import TopPackages
from pypi_scan.settings import Settings, StatsSource

if TYPE_CHECKING:
    from google.cloud.bigquery import Client


def configured_sources(settings: Settings, bigquery_client: "Callable[[], Client]") -> list[Source]:
    """Return the sources of the settings; `bigquery_client` is called if and when BigQuery is asked.

    Raises DownloadStatsError if BigQuery is one of them and its library is not installed.
    """
    return [_source(name, settings, bigquery_client) for name in settings.stats_sources]


def _source(name: StatsSource, settings: Settings, bigquery_client: "Callable[[], Client]") -> Source:
    match name:
        case "clickhouse":
            return ClickHouse(settings.clickhouse_url)
        case "top_packages":
            return TopPackages(settings.top_packages_url)
        case "file":
            return LocalFile(settings.download_stats_file or Path())
        case "bigquery":
            try:
                from pypi_scan.download_stats.bigquery import BigQuery
            except ImportError as error:
                raise DownloadStatsError(
                    f"PYPI_SCAN_DOWNLOAD_STATS_SOURCES names bigquery, whose library is missing ({error}); install "
                    "global-pypi-scan[bigquery] into Airflow's environment, or leave it out"
                ) from error
            directory = settings.download_stats_dir / "bigquery"
            return BigQuery(bigquery_client, directory, settings.bigquery_max_gib * 2**30)
