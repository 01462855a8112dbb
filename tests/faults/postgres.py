"""PostgreSQL as Airflow's metadata database, below the world's directory."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.processes import free_port, wait_until

from .services import Services

_USER = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root


def programs() -> Path | None:
    """Return the directory of PostgreSQL's own programs, None if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextmanager
def postgres(directory: Path, logs: Path, services: Services) -> Iterator[str]:
    """Run a server with an empty database; yields its SQLAlchemy URL."""
    bin_directory = programs()
    assert bin_directory
    directory.mkdir()
    if _USER:
        shutil.chown(directory, _USER, _USER)
    data, port = directory / "data", free_port()
    make = [str(bin_directory / "initdb"), f"--pgdata={data}", "--username=airflow", "--auth=trust", "--no-sync"]
    become = {"user": _USER, "group": _USER, "extra_groups": []} if _USER else {}
    subprocess.run(make, check=True, capture_output=True, cwd=directory, **become)
    serve = [
        str(bin_directory / "postgres"),
        f"-D{data}",
        f"-p{port}",
        "-clisten_addresses=127.0.0.1",
        f"-cunix_socket_directories={directory}",
        "-cfsync=off",
        "-cmax_connections=200",
    ]
    if _USER:
        serve = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *serve]
    ask = [str(bin_directory / "pg_isready"), "-h127.0.0.1", f"-p{port}", "-q"]
    with services.start("postgres", serve, env=os.environ, logs=logs, cwd=directory) as server:
        wait_until(lambda: subprocess.run(ask, check=False).returncode == 0, "PostgreSQL", 30, server)
        yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
