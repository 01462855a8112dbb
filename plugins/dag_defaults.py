"""What every DAG of this project has in common.

None has a start date: with one, Airflow would run the latest missed date of a schedule at once when a DAG is unpaused,
and a global scan takes days.
"""

from datetime import timedelta
from enum import StrEnum

from airflow.sdk import Asset

from alerts import task_failed

DEFAULT_ARGS = {
    "owner": "global-pypi-scan",
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": True,
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": task_failed,
}

NOT_AT_ONCE = timedelta(0)
"""For `run_immediately`: a date that passed before a DAG was unpaused, however shortly, is not run."""

PYPI_MIRROR = Asset(name="pypi_mirror", uri="x-pypi-mirror://local", group="mirror")
"""The mirror changed. Extra: ``serial``, ``changed`` (number of packages), ``changed_list`` (file of their names)."""

DOWNLOAD_STATS = Asset(name="pypi_download_stats", uri="x-pypi-download-stats://local", group="datasets")
"""The kept download statistics changed. Extra: ``source``, ``window_end`` (ISO 8601 date or null), ``packages``."""


class Tag(StrEnum):
    """The tags of DAGs."""

    MIRROR = "mirror"
    DATASETS = "datasets"
    SCAN = "scan"
