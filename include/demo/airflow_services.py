"""Airflow itself: the four services of `airflow standalone`, as processes of their own on one SQLite database."""

import base64
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from demo.airflow_client import AirflowClient
from demo.processes import DemoError, Start, free_port, running, wait_until

PROJECT = Path(__file__).resolve().parents[2]
_AIRFLOW = str(Path(sys.executable).with_name("airflow"))
_START_SECONDS = 180.0


@dataclass(frozen=True)
class Airflow:
    """A running Airflow: a client for its REST API, and what a person logs in with."""

    client: AirflowClient
    url: str
    username: str
    password: str


@contextmanager
def airflow(
    home: Path, cache: Path, env: Mapping[str, str], logs: Path, *, database: str | None = None, start: Start = running
) -> Iterator[Airflow]:
    """Run Airflow with the DAGs and plugins of this project; `env` adds connections and settings, or takes their place.

    `database` is the SQLAlchemy URL of an empty database to use instead of a new SQLite one.

    `home` must be empty; `cache` keeps a freshly migrated database, which takes longest to make.
    """
    home.mkdir(parents=True)
    port, password = free_port(), secrets.token_urlsafe(12)
    passwords = home / "passwords.json"
    passwords.touch(0o600)
    passwords.write_text(json.dumps({"admin": password}), encoding="utf-8")
    sqlite = f"sqlite:///{home / 'airflow.db'}?timeout=60"
    env = {**_airflow_env(home, port, passwords, database or sqlite), **env}
    if database:
        _migrate(env, home)
    else:
        _make_database(home / "airflow.db", cache, env, home)
    with ExitStack() as stack:
        api_server = None
        for name, arguments in (
            ("api-server", [f"--port={port}", "--host=127.0.0.1", "--workers=1"]),
            ("scheduler", ["--skip-serve-logs"]),
            ("dag-processor", []),
            ("triggerer", ["--skip-serve-logs"]),
        ):
            service = start(f"airflow-{name}", [_AIRFLOW, name, *arguments], env=env, logs=logs, cwd=home)
            process = stack.enter_context(service)
            api_server = api_server or process
        assert api_server
        url = f"http://127.0.0.1:{port}"
        client = stack.enter_context(AirflowClient(url, "admin", password))
        wait_until(client.is_healthy, "Airflow", _START_SECONDS, api_server)
        yield Airflow(client, url, "admin", password)


def _airflow_env(home: Path, port: int, passwords: Path, database: str) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "asyncssh=WARNING paramiko=WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }


def _make_database(database: Path, cache: Path, env: Mapping[str, str], cwd: Path) -> None:
    pristine = cache / f"airflow-{version('apache-airflow')}.db"
    if not pristine.exists():
        _migrate(env, cwd)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(database, pristine.with_suffix(".part"))
        pristine.with_suffix(".part").replace(pristine)
    else:
        shutil.copyfile(pristine, database)


def _migrate(env: Mapping[str, str], cwd: Path) -> None:
    done = subprocess.run(
        [_AIRFLOW, "db", "migrate"], env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"airflow db migrate failed:\n{done.stdout.decode(errors='replace')[-2000:]}")
