"""BigQuery's client, as an Airflow connection (type ``google_cloud_platform``) describes it.

The extra holds ``keyfile_dict`` (the service account's key, as JSON) or ``key_path`` (a file of it), and ``project``,
which pays for the queries; unset it is the key's own.
"""

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from pypi_scan.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client


def bigquery_from_connection(settings: Settings) -> "Client":
    """Return the client of the connection that the settings name, or of Google's application default credentials.

    Raises DownloadStatsError if the connection holds no usable key; OSError or GoogleAuthError if there are no default
    credentials.
    """
    from google.cloud.bigquery import Client

    from pypi_scan.download_stats.bigquery import service_account_client

    if settings.bigquery_conn_id is None:
        return Client()
    extra = BaseHook.get_connection(settings.bigquery_conn_id).extra_dejson
    return service_account_client(extra, settings.bigquery_conn_id)
