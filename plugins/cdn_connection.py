"""The CDN's origin as an Airflow connection (type ``aws``) describes it.

Login and password are the access key and the secret key; the extra holds ``endpoint_url`` (unset for AWS itself) and
``region_name``.
"""

from airflow.sdk import BaseHook

from pypi_scan.publish import Cdn, make_client
from pypi_scan.settings import Settings


def cdn_from_connection(settings: Settings) -> Cdn:
    """Return the CDN that the settings and their connection name; raises PublishError if they cannot be used."""
    connection = BaseHook.get_connection(settings.cdn_conn_id)
    extra = connection.extra_dejson
    client = make_client(
        extra.get("endpoint_url"), connection.login, connection.password, extra.get("region_name", "us-east-1")
    )
    return Cdn(client, settings.cdn_bucket, settings.cdn_public_url.rstrip("/"))
