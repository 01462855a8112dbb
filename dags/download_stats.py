"""
### Fetch how often packages are downloaded, every three days

Asks the sources of the setting `PYPI_SCAN_DOWNLOAD_STATS_SOURCES` in order for the newest 30 days, and keeps the first
plausible answer. When it is another than before, the asset `pypi_download_stats` is updated, which starts
`dataset_regeneration`; otherwise `announce` is skipped.

**If it fails**: no source gave statistics, and the error says why for each. The datasets go on with what was kept, and
show its age: in the log of their task, and in `aura/pypi_download_stats.json`. Clear `fetch`, or wait for the next run.

**By hand**: trigger it at any time, once before the first datasets are made.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from bigquery_connection import bigquery_from_connection
from dag_defaults import DEFAULT_ARGS, DOWNLOAD_STATS, NOT_AT_ONCE, Tag
from pypi_scan.settings import Settings


@dag(
    schedule=CronTriggerTimetable("41 4 */3 * *", timezone="UTC", run_immediately=NOT_AT_ONCE),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=[Tag.DATASETS],
    doc_md=__doc__,
)
def download_stats() -> None:
    @task
    def fetch() -> Any:
        from pypi_scan.download_stats.configured import configured_sources
        from pypi_scan.download_stats.refresh import refresh_download_stats

        settings = Settings.load()
        sources = configured_sources(settings, lambda: bigquery_from_connection(settings))
        return refresh_download_stats(sources, settings.download_stats_kept, datetime.now(UTC).date())

    @task(outlets=[DOWNLOAD_STATS])
    def announce(result: dict[str, Any], *, outlet_events: Any = None) -> None:
        if not result["changed"]:
            raise AirflowSkipException(f"{result['source']} gave the same statistics as before")
        outlet_events[DOWNLOAD_STATS].extra = {key: result[key] for key in ("source", "window_end", "packages")}

    announce(fetch())


download_stats()
