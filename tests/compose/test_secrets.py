"""The secrets of the stack, and what the control image's entry point makes of them."""

import json
import os
import re
from pathlib import Path

import asyncssh
import pytest
from cryptography.fernet import Fernet
from entrypoint import with_secrets
from make_secrets import make_secrets

from pypi_scan.signing import SigningKey

PROJECT = Path(__file__).resolve().parents[2]
OWNERS = dict.fromkeys(("postgres", "redis", "store", "worker", "worker-2"), os.getuid())


@pytest.fixture
def root(tmp_path):
    make_secrets(tmp_path, os.getuid(), OWNERS)
    return tmp_path


def contents(root):
    return {path.relative_to(root): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_second_start_changes_nothing(root):
    before = contents(root)
    make_secrets(root, os.getuid(), OWNERS)
    assert contents(root) == before


def test_two_stacks_share_no_secret(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    make_secrets(other, os.getuid(), OWNERS)
    assert set(contents(root)) == set(contents(other))
    assert not set(contents(root).values()) & set(contents(other).values())


def test_secrets_are_their_owners_alone(root):
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in root.iterdir()} == {0o700}


def test_a_lost_host_key_is_made_anew_and_pinned(root):
    (root / "worker" / "host_key").unlink()
    make_secrets(root, os.getuid(), OWNERS)
    assert_pinned(root, "worker", "AIRFLOW_CONN_PYPI_WORKER")


def assert_pinned(root, worker, connection):
    extra = json.loads(with_secrets({}, root / "control")[connection])["extra"]
    host_key = asyncssh.read_private_key(root / worker / "host_key")
    assert extra["host_key"].split() == host_key.export_public_key().decode().split()
    authorized = asyncssh.read_authorized_keys(str(root / worker / "authorized_keys"))
    key = asyncssh.read_private_key(extra["key_file"])
    assert authorized.validate(key.convert_to_public(), "", "", None) is not None


def test_the_environment_opens_every_door(root):
    environment = with_secrets({"LANG": "C.UTF-8"}, root / "control")
    assert environment["LANG"] == "C.UTF-8"
    Fernet(environment["AIRFLOW__CORE__FERNET_KEY"])
    SigningKey(json.loads(environment["AIRFLOW_CONN_PYPI_SIGNING"])["password"])
    password = (root / "postgres" / "password").read_text()
    assert f":{password}@postgres/" in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert f":{password}@postgres/" in environment["AIRFLOW__CELERY__RESULT_BACKEND"]
    broker = re.search("requirepass (.*)", (root / "redis" / "redis.conf").read_text())[1]
    assert f":{broker}@redis:" in environment["AIRFLOW__CELERY__BROKER_URL"]
    store = json.loads(environment["AIRFLOW_CONN_PYPI_CDN"])
    assert f"{store['login']},{store['password']}" == (root / "store" / "key").read_text()
    assert_pinned(root, "worker", "AIRFLOW_CONN_PYPI_WORKER")
    assert_pinned(root, "worker-2", "AIRFLOW_CONN_PYPI_WORKER_2")


def test_a_connection_to_a_real_cdn_stays(root):
    real = '{"conn_type": "aws"}'
    assert with_secrets({"AIRFLOW_CONN_PYPI_CDN": real}, root / "control")["AIRFLOW_CONN_PYPI_CDN"] == real
    empty = with_secrets({"AIRFLOW_CONN_PYPI_CDN": ""}, root / "control")["AIRFLOW_CONN_PYPI_CDN"]
    assert json.loads(empty)["extra"]["endpoint_url"] == "http://object-store:9000"


def test_the_gate_leads_to_each_worker_by_the_port_of_its_connection(root):
    gate = (PROJECT / "docker" / "mirror" / "nginx.conf").read_text(encoding="utf-8")
    environment = with_secrets({}, root / "control")
    for worker in ("worker", "worker-2"):
        connection = json.loads(environment[f"AIRFLOW_CONN_PYPI_{worker.upper().replace('-', '_')}"])
        assert connection["host"] == "mirror"
        assert f" {connection['port']} {worker}:2222;" in gate
        assert f" listen {connection['port']};" in gate
