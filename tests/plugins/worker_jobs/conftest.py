"""Workers to run jobs on: the demo's and OpenSSH's own server."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import msgspec
import pytest

from demo.processes import accepts_connections, free_port, running, wait_until
from demo.ssh_worker import SSHWorker, ssh_worker
from pypi_scan.divide import divide_scan
from pypi_scan.fleet import Capacity, Fleet, FleetShard
from pypi_scan.fleet_file import open_fleet
from pypi_scan.mirror import Mirror
from pypi_scan.plan import plan_scan
from pypi_scan.redaction_key import redaction_key
from pypi_scan.results import Scanner
from pypi_scan.scan_request import ScanRequest
from pypi_scan.settings import Settings
from worker_jobs.worker import Worker

from . import small_mirror

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # the demo worker says every step, at the end of a session too

PROJECT = Path(__file__).resolve().parents[3]
CONN_ID = "pypi_worker"
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")

Connect = Callable[..., Worker]


@contextlib.contextmanager
def openssh_worker(home: Path) -> Iterator[SSHWorker]:
    """OpenSSH's sshd as the current user on a free port of loopback, with a host key of its own, key login only."""
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
        "MaxStartups 100\n"  # paramiko keeps a connection open that it refused: here until all tests have run
        "Subsystem sftp internal-sftp\n"
        f"SetEnv HOME={home}\n"  # without the shell's start-up files of whoever runs the tests
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, locks its unprivileged half into
    command = [str(SSHD), "-D", "-e", "-f", str(home / "sshd_config")]
    with running("sshd", command, env=os.environ, logs=home, cwd=home) as process:
        wait_until(lambda: accepts_connections(port), "sshd", 10, process)
        host_key = keys["host_key"].export_public_key().decode().strip()
        yield SSHWorker("127.0.0.1", port, getuser(), home / "control_key", host_key, home)


@pytest.fixture(scope="session", params=["demo worker", "OpenSSH"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHWorker]:
    """A machine that can be a worker."""
    if request.param == "OpenSSH" and SSHD is None:
        pytest.skip("sshd is not installed; on Debian: apt-get install openssh-server")
    serve = openssh_worker if request.param == "OpenSSH" else ssh_worker
    with serve(tmp_path_factory.mktemp("machine") / "home") as worker:
        yield worker


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """The Python of the scanner environment."""
    python = PROJECT / ".venv-worker" / "bin" / "python"
    if not python.exists():
        pytest.fail("no scanner environment; run: make setup")
    return python


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use no key, agent or known host of whoever runs the tests, and do not wait before a connection is tried again."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("AIRFLOW_VAR_PYPI_WORKERS", CONN_ID)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """The worker's work_dir, which is on this machine too; the worker has to make it."""
    return tmp_path / "a worker's disk"


@pytest.fixture
def connect(machine: SSHWorker, worker_python: Path, work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make the connection to the machine and read it: ``connect(port=..., extra={...})``; None leaves an extra out."""

    def connect(extra: dict[str, Any] | None = None, conn_id: str = CONN_ID, **fields: Any) -> Worker:
        full_extra = {
            "key_file": str(machine.key_file),
            "host_key": machine.host_key,
            "look_for_keys": "false",
            "work_dir": str(work_dir),
            "python": str(worker_python),
            "cores": 2,
            **(extra or {}),
        }
        connection = {
            "conn_type": "ssh",
            "host": machine.host,
            "port": machine.port,
            "login": machine.username,
            "extra": {key: value for key, value in full_extra.items() if value is not None},
            **fields,
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return Worker.from_connection(conn_id)

    return connect


@pytest.fixture
def worker(connect: Connect) -> Worker:
    """The machine as a worker."""
    return connect()


@dataclass(frozen=True)
class Scanned:
    """A mirror, the plan of a scan of it with one shard, and what the programs of include/scripts made of that."""

    mirror: Mirror
    scans_dir: Path
    scan_id: str
    shard: str
    cache: Path
    results: Path


@pytest.fixture(scope="session")
def scanned(worker_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """A scan of two small packages. Shared: do not change it."""
    directory = tmp_path_factory.mktemp("scanned")
    mirror = small_mirror.make(directory / "mirror")
    plan = plan_scan(mirror, ScanRequest(small_mirror.UPLOADED), directory / "scans", "manual__1")
    key = f"--redaction-key={redaction_key(directory)}"
    scripts = PROJECT / "include" / "scripts"
    described = subprocess.run(
        [str(worker_python), str(scripts / "describe_scanner.py"), key], check=True, capture_output=True, timeout=120
    )
    scanner = msgspec.json.decode(described.stdout, type=Scanner)
    (shard,) = divide_scan(directory / "scans" / plan.scan_id, scanner, records=None, shards=1).shard_ids
    done = Scanned(mirror, directory / "scans", plan.scan_id, shard, directory / "cache", directory / "results")
    options = [f"--shard={done.scans_dir / plan.scan_id / 'shards' / shard}.jsonl.zst", f"--cache={done.cache}"]
    scan = [f"--output={done.results}", key]
    for program, more in (("prefetch.py", [f"--source={mirror.web}"]), ("scan_shard.py", scan)):
        command = [str(worker_python), str(scripts / program), *options, *more]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return done


@pytest.fixture
def settings(scanned: Scanned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a control host, in the environment too; it has the plan of the scan, a worker, no results."""
    shutil.copytree(scanned.scans_dir, tmp_path / "scans")
    for name, value in {
        "MIRROR_ROOT": scanned.mirror.root,
        "STATE_DIR": tmp_path / "state",
        "SCANS_DIR": tmp_path / "scans",
        "MIRROR_SOURCE": scanned.mirror.web,
        "CDN_BUCKET": "cdn",
        "CDN_PUBLIC_URL": "http://cdn.example",
    }.items():
        monkeypatch.setenv(f"PYPI_SCAN_{name}", str(value))
    with open_fleet(tmp_path / "scans" / scanned.scan_id) as fleet:
        fleet.admit(CONN_ID, Capacity(2))
        fleet.set_shards({scanned.shard: 1.0})
    return Settings.load()


def place(settings: Settings, scanned: Scanned, **state: Any) -> None:
    """Have the shard on the worker, with what is said of its state."""
    with open_fleet(settings.scans_dir / scanned.scan_id) as fleet:
        fleet.shards[scanned.shard] = FleetShard(1.0, worker=CONN_ID, **state)


def fleet_of(settings: Settings, scanned: Scanned) -> Fleet:
    """Return the fleet as it is now."""
    with open_fleet(settings.scans_dir / scanned.scan_id) as fleet:
        return fleet


def processes_with(text: str) -> list[int]:
    """Return the processes that have `text` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Poll until `condition` holds; fails the test if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
