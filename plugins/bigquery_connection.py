"""BigQuery's client, as an Airflow connection (type ``google_cloud_platform``) describes it.

The extra holds ``keyfile_dict`` (the service account's key, as JSON) or ``key_path`` (a file of it), and ``project``,
which pays for the queries; unset it is the key's own.
"""

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from pypi_scan.download_stats.source import DownloadStatsError
from pypi_scan.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client


def bigquery_from_settings(settings: Settings) -> "Client":
    """Return the client of the connection that the settings name, or of Google's application default credentials.

    Raises DownloadStatsError if the connection holds no usable key; OSError or GoogleAuthError if there are no default
    credentials.
    """
    from google.cloud.bigquery import Client

    if settings.bigquery_conn_id is None:
        return Client()
    extra = BaseHook.get_connection(settings.bigquery_conn_id).extra_dejson
    return client_from_extra(extra, settings.bigquery_conn_id)


def client_from_extra(extra: dict[str, Any], conn_id: str) -> "Client":
    """Return the client that a connection's `extra` describes; raises DownloadStatsError, without the key in it."""
    from google.cloud.bigquery import Client
    from google.oauth2.service_account import Credentials

    try:
        if keyfile := extra.get("keyfile_dict"):
            info = json.loads(keyfile) if isinstance(keyfile, str) else keyfile
            credentials = Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
        else:
            credentials = Credentials.from_service_account_file(extra["key_path"])  # type: ignore[no-untyped-call]
    except (KeyError, OSError, TypeError, ValueError, AttributeError) as error:
        raise DownloadStatsError(
            f"bigquery: the connection {conn_id} needs a service account's key as keyfile_dict, or the path of its "
            f"file as key_path, in its extra ({type(error).__name__})"
        ) from None
    return Client(project=extra.get("project") or credentials.project_id, credentials=credentials)
