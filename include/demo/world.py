"""The world around Airflow: upstream, mirror, worker and CDN, wired together by settings and connections."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.airflow_services import PROJECT
from demo.object_store import ObjectStore, object_store
from demo.processes import DemoError, Start, running
from demo.ssh_worker import SSHWorker, end_jobs, ssh_worker
from demo.static_server import StaticServer
from demo.upstream import UpstreamServer, UpstreamSummary, build_upstream
from pypi_scan.signing import new_key_pair

WORKERS_VARIABLE = "pypi_workers"
_KEPT = {"cache", "upstream", "lock"}


@dataclass(frozen=True)
class World:
    """A running world below `root`; `env` is the environment in which Airflow finds it."""

    root: Path
    upstream: UpstreamServer
    upstream_summary: UpstreamSummary
    mirror: StaticServer
    workers: tuple[SSHWorker, ...]
    store: ObjectStore
    env: dict[str, str]

    @property
    def cache(self) -> Path:
        """What is worth keeping between worlds."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        """The output of every server, one file each."""
        return self.root / "logs"

    @property
    def scans(self) -> Path:
        """The plans, results and datasets of global scans on the control host."""
        return self.root / "scans"


@contextmanager
def world(root: Path, *, real_packages: bool = True, workers: int = 1, start: Start = running) -> Iterator[World]:
    """Start a world below `root` with an empty mirror; what an earlier one left there is removed, but for caches.

    Each of its workers is an Airflow connection: ``pypi_worker``, ``pypi_worker_2`` ...

    Raises DemoError if another world runs there, or it cannot be written.
    """
    root = root.absolute()
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((root / "lock").open("w"))
        except OSError as error:
            raise DemoError(
                f"the demo cannot write to {root} ({error}); name another place with --directory"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo runs in {root}; stop it first (Ctrl-C where it was started)") from None
        for home in root.glob("worker*"):
            end_jobs(home)  # of an earlier world that was killed
        for path in root.iterdir():
            if path.is_symlink() or path.is_file():
                if path.name not in _KEPT:
                    path.unlink()
            elif path.name not in _KEPT:
                shutil.rmtree(path)

        summary = build_upstream(root / "upstream", root / "cache", real_packages=real_packages)
        upstream = stack.enter_context(UpstreamServer(root / "upstream"))
        web = root / "mirror" / "web"
        web.mkdir(parents=True)
        mirror = stack.enter_context(StaticServer(web))
        homes = [root / name.removeprefix("pypi_") for name in worker_names(workers)]
        machines = tuple(stack.enter_context(ssh_worker(home)) for home in homes)
        store = stack.enter_context(object_store(root / "store", root / "logs", start))
        (root / "cdn").symlink_to(root / "store" / store.bucket)
        yield World(root, upstream, summary, mirror, machines, store, _env(root, upstream, mirror, machines, store))


def worker_names(number: int) -> list[str]:
    """Return the connections of so many workers."""
    return ["pypi_worker", *(f"pypi_worker_{count}" for count in range(2, number + 1))]


def worker_connection(worker: SSHWorker) -> dict[str, Any]:
    """Return an Airflow connection to a worker."""
    return {
        "conn_type": "ssh",
        "host": worker.host,
        "port": worker.port,
        "login": worker.username,
        "extra": {
            "key_file": str(worker.key_file),
            "host_key": worker.host_key,
            "look_for_keys": "false",
            "work_dir": str(worker.home / "pypi-scan"),
            "python": str(PROJECT / ".venv-worker" / "bin" / "python"),
            "cores": os.cpu_count() or 1,
        },
    }


def _env(
    root: Path,
    upstream: UpstreamServer,
    mirror: StaticServer,
    workers: tuple[SSHWorker, ...],
    store: ObjectStore,
) -> dict[str, str]:
    connections = zip(worker_names(len(workers)), map(worker_connection, workers), strict=True)
    cdn = {
        "conn_type": "aws",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"endpoint_url": store.endpoint_url, "region_name": "us-east-1"},
    }
    secret_key, _ = new_key_pair()
    signing = {"conn_type": "generic", "password": secret_key.split()[-1]}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(workers[0].home),
        "LANG": "C.UTF-8",
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection) for name, connection in connections},
        "AIRFLOW_CONN_PYPI_CDN": json.dumps(cdn),
        "AIRFLOW_CONN_PYPI_SIGNING": json.dumps(signing),
        "PYPI_SCAN_MIRROR_ROOT": str(root / "mirror"),
        "PYPI_SCAN_STATE_DIR": str(root / "state"),
        "PYPI_SCAN_SCANS_DIR": str(root / "scans"),
        "PYPI_SCAN_UPSTREAM_URL": upstream.url,
        "PYPI_SCAN_DOWNLOAD_STATS_FILE": str(Path(__file__).with_name("download_stats.jsonl")),
        "PYPI_SCAN_MIRROR_SOURCE": mirror.url,
        "PYPI_SCAN_WORKER_PATIENCE": "30",
        "PYPI_SCAN_CDN_BUCKET": store.bucket,
        "PYPI_SCAN_CDN_PUBLIC_URL": store.public_url,
    }
