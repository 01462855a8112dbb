"""Airflow's real API server, with its metadata in a database and with users, without a network between."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient


@pytest.fixture(scope="session")
def api_server() -> object:
    """Airflow's API server as it is deployed, with the plugins of this project."""
    from airflow.api_fastapi.app import create_app
    from airflow.utils.db import initdb

    initdb()
    return create_app(apps="core")


@pytest.fixture
def browse(api_server) -> Callable[..., TestClient]:
    """A browser in which somebody with a role is logged in, or nobody."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def browser(role: str | None = "viewer", *, logged_in: bool = True) -> TestClient:
        client = TestClient(api_server, base_url="http://airflow.example", follow_redirects=False)
        if logged_in:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="someone", role=role))
            client.cookies.set("_token", token)
        return client

    return browser
