"""The signing key out of an Airflow connection: there, or a message that says what to do; in no log and no XCom."""

import json
from pathlib import Path

import pytest
from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.serde import serialize

from pypi_scan.settings import Settings
from pypi_scan.signing import SigningError, new_key_pair
from signing_connection import signing_key_from_connection

SETTINGS = Settings(
    mirror_root=Path("mirror"),
    state_dir=Path("state"),
    scans_dir=Path("scans"),
    mirror_source="https://mirror.example/web",
    cdn_bucket="bucket",
    cdn_public_url="https://cdn.example",
    signing_conn_id="a_key",
)


def connect(monkeypatch: pytest.MonkeyPatch, password: str | None) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_A_KEY", json.dumps({"conn_type": "generic", "password": password}))


@pytest.mark.parametrize("whole", [True, False], ids=["file", "last line"])
def test_the_key_is_that_of_the_connection_and_masked(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    secret, public = new_key_pair()
    password = secret if whole else secret.split()[-1]
    connect(monkeypatch, password)
    key = signing_key_from_connection(SETTINGS)
    assert key.public_key == public
    assert redact(f"the key is {password}") == "the key is ***"
    with pytest.raises(TypeError, match="Cannot serialize"):
        serialize(key)  # what XCom does


def test_without_a_connection_the_message_says_how_to_make_one() -> None:
    with pytest.raises(SigningError, match=r"there is no connection a_key, and no dataset is published unsigned; make"):
        signing_key_from_connection(SETTINGS)


@pytest.mark.parametrize("password", [None, "", "not a key"])
def test_a_connection_without_a_key_is_named(monkeypatch: pytest.MonkeyPatch, password: str | None) -> None:
    connect(monkeypatch, password)
    with pytest.raises(SigningError, match=r"the password of the connection a_key: not a secret key of minisign"):
        signing_key_from_connection(SETTINGS)
