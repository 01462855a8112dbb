"""The key that signs datasets, as an Airflow connection (type ``generic``) holds it.

The password is the secret key: the last line of ``minisign.key``. Airflow encrypts passwords and masks them in logs.
"""

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from pypi_scan.settings import Settings
from pypi_scan.signing import SigningError, SigningKey


def signing_key_from_connection(settings: Settings) -> SigningKey:
    """Return the key of the connection that the settings name; raises SigningError if there is none to sign with."""
    name = settings.signing_conn_id
    try:
        connection = BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise SigningError(
            f"there is no connection {name}, and no dataset is published unsigned; make a key (python -m "
            f"pypi_scan.signing new-key DIRECTORY) and the connection {name} of type generic, whose password is the "
            "last line of minisign.key, or trigger the run with Publish unticked"
        ) from None
    try:
        return SigningKey(connection.password or "")
    except SigningError as error:
        raise SigningError(f"the password of the connection {name}: {error}") from None
