"""The demo world with everything in it that can break as it does in production.

PostgreSQL as metadata database, every service started again when it dies, OpenSSH's sshd as worker, and a proxy before
the worker, the object store and the mirror.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from demo.airflow_client import DAGS, AirflowClient
from demo.airflow_services import airflow
from demo.processes import DemoError, accepts_connections, free_port, wait_until
from demo.ssh_worker import SSHWorker
from demo.world import World, worker_connection, world

from .postgres import postgres, programs
from .services import SERVICE, Services, command_line, descends_from, processes
from .tcp_proxy import TcpProxy

SCAN = {"as_of": "2026-11-01", "mode": "full", "shards": 2, "package_timeout": 120, "publish": True}
WORKER = "FAULTS_WORKER"
"""The environment variable that every process on the worker has."""

_SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
_RUN_SECONDS = 420.0
_SSD_BYTES = 5 << 30  # prepare wants 4 GB of it to be free
_SCANS_BYTES = 100 << 20
_ENDED = {"success", "failed"}

# Airflow waits half a minute to five before it takes a service or a task for dead; here it does not wait as long.
_IMPATIENT = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}
_POLICY = """
from datetime import timedelta

def task_policy(task):
    task.retry_delay = timedelta(seconds=5)
    task.retry_exponential_backoff = False
    for rule in task.retry_policy.rules if task.retry_policy else ():
        rule.retry_delay = timedelta(seconds=5)
"""


class NotInTimeError(Exception):
    """Something that a fault waits for did not happen."""


@dataclass
class FaultyWorld:
    """A running world; `network` is what lies between the control host and the worker."""

    world: World
    airflow: AirflowClient
    services: Services
    home: Path
    network: TcpProxy
    store: TcpProxy
    mirror: TcpProxy

    @property
    def name(self) -> str:
        """What tells this world's processes from those of others."""
        return str(self.world.root)

    @property
    def work_dir(self) -> Path:
        """The worker's disk."""
        return self.world.root / "ssd"

    def scan(self, **params: object) -> "Run":
        """Trigger a scan of everything."""
        before = {path.parent for path in self.world.scans.glob("*/fleet.json")} | set(self.world.scans.glob("2*"))
        deadline = time.monotonic() + 60
        while True:
            try:
                return Run(self, self.airflow.trigger("global_scan", SCAN | params), before)
            except (httpx.TransportError, DemoError):  # the service that a fault killed before is about to be back
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def sync(self, beside: "Run") -> str:
        """Sync the mirror beside a run; returns the state in which it ended."""
        run_id = self.airflow.trigger("pypi_sync")

        def state() -> str:
            return str(self.airflow.request("GET", f"/dags/pypi_sync/dagRuns/{run_id}")["state"])

        deadline = time.monotonic() + _RUN_SECONDS
        while (ended := state()) not in _ENDED:
            if time.monotonic() > deadline:
                raise NotInTimeError("a sync did not end")
            time.sleep(0.5)
        return ended

    def public_scans(self) -> set[str]:
        """Return the scans that are public as a whole."""
        return {path.parent.name for path in (self.world.root / "cdn" / "pypi_datasets").glob("2*/manifest.json")}

    def recover(self) -> None:
        """Take back every fault that still goes on, as after one that did not pass."""
        for proxy in (self.network, self.store, self.mirror):
            proxy.restore()
        self.world.mirror.tamper = self.world.upstream.tamper = None
        for disk in (self.work_dir, self.world.scans):
            (disk / "ballast").unlink(missing_ok=True)

    def on_worker(self, program: str = "") -> list[int]:
        """Return the processes of jobs on the worker whose command line contains `program`."""
        return [pid for pid in processes({WORKER: self.name}) if program in command_line(pid)]

    def of_service(self, name: str) -> list[int]:
        """Return the processes of a service of the control host."""
        return processes({SERVICE: f"{self.name}:{name}"})

    def orphans(self) -> list[str]:
        """Return the command lines of processes that belong to no service, and of jobs on the worker."""
        here = os.getpid()
        lost = [pid for pid in processes({SERVICE: f"{self.name}:"}) if not descends_from(pid, here)]
        return [line for pid in (*lost, *self.on_worker()) if (line := command_line(pid))]


@dataclass
class Run:
    """A run of global_scan in a faulty world."""

    where: FaultyWorld
    run_id: str
    before: set[Path]

    @property
    def scan_dir(self) -> Path | None:
        """The scan's directory on the control host, once it is planned."""
        new = [path for path in self.where.world.scans.glob("2*") if path not in self.before]
        return new[0] if new else None

    @property
    def scan_id(self) -> str:
        """The scan, once it is planned."""
        assert self.scan_dir
        return self.scan_dir.name

    def state(self) -> str | None:
        """Return the state of the run, None while Airflow does not say."""
        try:
            return str(self.where.airflow.request("GET", f"/dags/global_scan/dagRuns/{self.run_id}")["state"])
        except (httpx.TransportError, DemoError):
            return None

    def tasks(self, name: str = "", *states: str) -> list[dict[str, Any]]:
        """Return the task instances of this name in these states; none while Airflow does not say."""
        try:
            found = self.where.airflow.task_instances("global_scan", self.run_id)
        except (httpx.TransportError, DemoError):
            return []
        return [
            task
            for task in found
            if name in ("", task["task_id"].rpartition(".")[2]) and (not states or task["state"] in states)
        ]

    def scanned(self) -> int:
        """Return how many packages have been scanned in shards whose results are still on the worker."""
        if not self.scan_dir:
            return 0
        journals = (self.where.work_dir / "scans" / self.scan_id).glob("results/*/.work/journal.jsonl")
        return sum(max(0, _lines(path) - 1) for path in journals)

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 180) -> None:
        """Poll until the condition holds; raises NotInTimeError, also if the run has ended before."""
        deadline, looked = time.monotonic() + seconds, time.monotonic()
        while not condition():
            if time.monotonic() > deadline:
                raise NotInTimeError(f"{what}: not within {seconds:.0f} seconds")
            if time.monotonic() - looked > 5:
                looked = time.monotonic()
                if (state := self.state()) in _ENDED:
                    raise NotInTimeError(f"{what}: not before the run ended, as {state}")
            time.sleep(0.03)

    def until_scanning(self, packages: int = 3) -> None:
        """Wait until so many packages have been scanned and a scan goes on."""
        self.wait_for(lambda: self.scanned() >= packages and self.where.on_worker("scan_shard.py"), "a scan under way")

    def until_ended(self) -> str:
        """Wait for the end of the run and return its state."""
        deadline = time.monotonic() + _RUN_SECONDS
        while (state := self.state()) not in _ENDED:
            if time.monotonic() > deadline:
                stuck = [(t["task_id"], t["map_index"], t["state"], t["try_number"]) for t in self.tasks()]
                raise NotInTimeError(f"the run did not end within {_RUN_SECONDS:.0f} seconds: {stuck}")
            time.sleep(0.5)
        assert state
        return state

    def clear_failed(self) -> None:
        """Clear what failed, and what was not done for that, as a person does who reads of it."""
        states = ("failed", "upstream_failed", "skipped")
        self.where.airflow.clear("global_scan", self.run_id, self.tasks("", *states))

    def give_up(self) -> None:
        """Mark the run failed if it goes on, so that the next one can begin."""
        if self.state() not in _ENDED:
            path = f"/dags/global_scan/dagRuns/{self.run_id}"
            self.where.airflow.request("PATCH", path, json={"state": "failed"})


@contextmanager
def faulty_world(root: Path) -> Iterator[FaultyWorld]:
    """Start a world below `root`, which other users may enter, sync it once, and unpause the scan."""
    if not programs() or not _SSHD:
        pytest.skip("PostgreSQL or sshd is not installed; on Debian: apt-get install postgresql openssh-server")
    services = Services(str(root))
    with ExitStack() as stack:
        here = stack.enter_context(world(root, real_packages=False, start=services.start))
        for disk, size in (("ssd", _SSD_BYTES), ("scans", _SCANS_BYTES)):
            stack.enter_context(_own_disk(root / disk, size))
        machine = stack.enter_context(_openssh_worker(root / "machine", here, services))
        network = stack.enter_context(TcpProxy(machine.port).running())
        store = stack.enter_context(TcpProxy(_port(here.store.endpoint_url)).running())
        mirror = stack.enter_context(TcpProxy(here.mirror.port).running())
        database = stack.enter_context(postgres(root / "postgres", here.logs, services))
        (root / "policy").mkdir()
        (root / "policy" / "airflow_local_settings.py").write_text(_POLICY)
        connection = worker_connection(replace(machine, port=network.port))
        connection["extra"] |= {"work_dir": str(root / "ssd"), "cores": 1}
        cdn = json.loads(here.env["AIRFLOW_CONN_PYPI_CDN"])
        cdn["extra"]["endpoint_url"] = f"http://127.0.0.1:{store.port}"
        env = {
            **here.env,
            **_IMPATIENT,
            "PYTHONPATH": str(root / "policy"),
            "AIRFLOW_CONN_PYPI_WORKER": json.dumps(connection),
            "AIRFLOW_CONN_PYPI_CDN": json.dumps(cdn),
            "PYPI_SCAN_WORKER_PATIENCE": "45",
            "PYPI_SCAN_MIRROR_SOURCE": f"http://127.0.0.1:{mirror.port}",
        }
        flow = stack.enter_context(
            airflow(root / "airflow", here.cache, env, here.logs, database=database, start=services.start)
        )
        _first_sync(flow.client)
        yield FaultyWorld(here, flow.client, services, machine.home, network, store, mirror)


def _first_sync(client: AirflowClient) -> None:
    client.unpause("download_stats")  # alone: statistics that change would start dataset_regeneration, without a mirror
    for _ in client.follow("download_stats", client.trigger("download_stats"), 180):
        pass
    for dag_id in DAGS:
        client.unpause(dag_id)
    for _ in client.follow("pypi_sync", client.trigger("pypi_sync"), 180):
        pass
    deadline = time.monotonic() + 90
    while not any(run["state"] == "success" for run in client.runs("dataset_regeneration")):
        if time.monotonic() > deadline:
            raise NotInTimeError("dataset_regeneration did not follow the first sync")
        time.sleep(0.5)


@contextmanager
def _own_disk(directory: Path, size: int) -> Iterator[None]:
    """Make a directory with a file system of its own, which can be full; without root an ordinary one."""
    directory.mkdir()
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "faults", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def _openssh_worker(home: Path, here: World, services: Services) -> Iterator[SSHWorker]:
    home.mkdir()
    keys = {}
    for name in ("control_key", "host_key"):
        keys[name] = asyncssh.generate_private_key("ssh-ed25519")
        (home / name).touch(0o600)
        keys[name].write_private_key(str(home / name))
        keys[name].write_public_key(f"{home / name}.pub")
    port = free_port()
    (home / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {home / 'host_key'}\n"
        f"AuthorizedKeysFile {home / 'control_key.pub'}\n"
        "PubkeyAuthentication yes\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "StrictModes no\n"
        "UsePAM no\n"
        "PidFile none\n"
        "MaxStartups 100\n"
        "Subsystem sftp internal-sftp\n"
        f"SetEnv HOME={home} {WORKER}={here.root}\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, locks its unprivileged half into
    command = [str(_SSHD), "-D", "-e", "-f", str(home / "sshd_config")]
    with services.start("sshd", command, env=os.environ, logs=here.logs, cwd=home) as server:
        wait_until(lambda: accepts_connections(port), "sshd", 10, server)
        host_key = keys["host_key"].export_public_key().decode().strip()
        try:
            yield SSHWorker("127.0.0.1", port, getuser(), home / "control_key", host_key, home)
        finally:
            for pid in processes({WORKER: str(here.root)}):
                os.kill(pid, 9)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
