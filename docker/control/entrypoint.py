#!/usr/bin/env python
"""Starts a program of the control host with the stack's secrets in its environment, where `docker inspect` shows none.

The secrets are files of the directory that make_secrets.py calls ``control``. A connection to the CDN that is in the
environment stays; without one it is the stack's own object store.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SECRETS = Path("/run/secrets")
_HOST_KEY = ".host_key.pub"


def with_secrets(environment: Mapping[str, str], secrets: Path) -> dict[str, str]:
    """Return `environment` with the keys, connection strings and connections that the files in `secrets` make up."""

    def secret(name: str) -> str:
        return (secrets / name).read_text(encoding="ascii").strip()

    # With the driver's name, as not all of Airflow's parts mean the same one without it.
    database = f"postgresql+psycopg2://airflow:{secret('postgres_password')}@postgres/airflow"
    store_key, store_secret = secret("store_key").split(",")
    own_store = {
        "conn_type": "aws",
        "login": store_key,
        "password": store_secret,
        "extra": {"endpoint_url": "http://object-store:9000", "region_name": "us-east-1"},
    }
    signing = {"conn_type": "generic", "password": secret("minisign.key").splitlines()[-1]}
    return {
        **environment,
        "AIRFLOW__CORE__FERNET_KEY": secret("fernet_key"),
        "AIRFLOW__API__SECRET_KEY": secret("api_secret_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret("jwt_secret"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:{secret('redis_password')}@redis:6379/0",
        "AIRFLOW_CONN_PYPI_CDN": environment.get("AIRFLOW_CONN_PYPI_CDN") or json.dumps(own_store),
        "AIRFLOW_CONN_PYPI_SIGNING": json.dumps(signing),
        **{
            f"AIRFLOW_CONN_PYPI_{worker.upper().replace('-', '_')}": json.dumps(
                _worker_connection(worker, secrets, environment.get("WORKER_CORES", ""))
            )
            for worker in (path.name.removesuffix(_HOST_KEY) for path in sorted(secrets.glob(f"*{_HOST_KEY}")))
        },
    }


def _worker_connection(worker: str, secrets: Path, cores: str) -> dict[str, Any]:
    """Return the connection to ``worker``, ``worker-2`` ..., by the port that docker/mirror/nginx.conf gives it."""
    return {
        "conn_type": "ssh",
        "host": "mirror",
        "port": 2200 + int(worker.removeprefix("worker").removeprefix("-") or 1),
        "login": "scanner",
        "extra": {
            "key_file": str(secrets / "worker_key"),
            "host_key": (secrets / f"{worker}{_HOST_KEY}").read_text(encoding="ascii").strip(),
            "look_for_keys": "false",
            "work_dir": "/ssd/pypi-scan",
            "python": "/opt/scanner/bin/python",
            **({"cores": cores} if cores else {}),
        },
    }


if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], with_secrets(os.environ, _SECRETS))  # noqa: S606 - a program, in the place of this
