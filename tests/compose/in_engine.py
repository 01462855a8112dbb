"""The stack in a Docker engine: it runs the main job, and its dataset is that of `make demo`, byte for byte.

`make test-compose` runs this file, `make test` does not. The images of docker-compose.yaml have to be there or within
reach; what the environment sets of them (CONTROL_PYTHON_IMAGE, BUILD_NETWORK ...) holds here too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.airflow_client import AirflowClient
from demo.pipeline import SCAN_PARAMS
from demo.processes import free_port

pytestmark = pytest.mark.world

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / ".demo"
FILES = ("docker-compose.yaml", "tests/compose/world.yaml")
PROJECT_NAME = "global-pypi-scan-test"
COMPOSE = ["docker", "compose", f"--project-name={PROJECT_NAME}", "--env-file=tests/compose/world.env"]
START_SECONDS, RUN_SECONDS = 900.0, 1800.0
DAGS = ("dataset_regeneration", "pypi_sync", "global_scan")


# Prints a list: whether somebody answers at each address, if only to refuse.
REACHED = """
import json, socket
def answers(target):
    try:
        socket.create_connection(tuple(target), 3).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True
print(json.dumps([answers(target) for target in {targets}]))
"""


class Stack:
    """The stack that runs: a client of its Airflow, and where its CDN is."""

    def __init__(self) -> None:
        self.ports = {name: str(free_port()) for name in ("AIRFLOW_PORT", "MIRROR_PORT", "CDN_PORT")}

    def compose(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run a command of compose and return its output; fails with all it said."""
        files = [f"--file={file}" for file in FILES]
        environment = {**os.environ, **self.ports, "CDN_PUBLIC_URL": self.cdn}
        command = [*COMPOSE, *files, *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=environment, input=stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-5000:]
        return done.stdout.decode()

    def addresses(self, service: str) -> list[str]:
        """Return the addresses that a service has in its networks."""
        container = self.compose("ps", "--quiet", service).strip()
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return _docker("inspect", "--format", template, container).split()

    def gateways(self) -> list[str]:
        """Return the addresses that the host would have in the networks of the stack."""
        networks = _docker("network", "ls", "--quiet", f"--filter=name={PROJECT_NAME}_").split()
        template = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
        return _docker("network", "inspect", "--format", template, *networks).split()

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self.ports['CDN_PORT']}"

    def airflow(self) -> AirflowClient:
        password = self.compose("exec", "-T", "airflow-worker", "cat", "/run/secrets/admin_password").strip()
        return AirflowClient(f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}", "admin", password)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def engine() -> None:
    """Skip all of this where there is no engine with compose."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("the stack was not run: docker is not installed")
        if done.returncode != 0:
            pytest.skip(f"the stack was not run: {' '.join(command)}: {(done.stderr or done.stdout).strip()[-200:]}")


@pytest.fixture(scope="module")
def demo_scan(engine: None) -> Path:
    """The directory of the dataset that `make demo` publishes."""
    subprocess.run([sys.executable, "-m", "demo", "run", "--directory", str(DEMO)], cwd=PROJECT, check=True)
    (manifest,) = (DEMO / "cdn" / "pypi_datasets").glob("2*/manifest.json")
    return manifest.parent


@pytest.fixture(scope="module")
def stack(demo_scan: Path) -> Iterator[Stack]:
    """The stack with nothing in it but the redaction key of the demo, without which secrets have other hashes."""
    running = Stack()
    running.compose("down", "--volumes", "--remove-orphans")  # of a run that was killed
    try:
        running.compose("build", "secrets", "worker")
        running.compose("up", "--detach", "--no-build")
        key = (DEMO / "state" / "redaction.key").read_bytes()
        keep = "umask 077; cat > /srv/pypi-scan/state/redaction.key"
        running.compose("exec", "-T", "airflow-worker", "sh", "-c", keep, stdin=key)
        yield running
    finally:
        running.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def airflow(stack: Stack) -> Iterator[AirflowClient]:
    with stack.airflow() as client:
        deadline = time.monotonic() + START_SECONDS
        while not client.is_healthy():
            assert time.monotonic() < deadline, stack.compose("ps", "--all")
            time.sleep(1.0)
        yield client


@pytest.fixture(scope="module")
def published(airflow: AirflowClient, demo_scan: Path) -> str:
    """The id of a scan as of the moment of the demo's, after a sync of the demo's upstream."""

    def done(dag_id: str, run_id: str) -> str:
        for _ in airflow.follow(dag_id, run_id, RUN_SECONDS):
            continue
        return run_id

    airflow.unpause("download_stats")
    done("download_stats", airflow.trigger("download_stats"))
    for dag_id in DAGS:
        airflow.unpause(dag_id)
    done("pypi_sync", airflow.trigger("pypi_sync"))
    deadline = time.monotonic() + RUN_SECONDS
    while not (runs := airflow.runs("dataset_regeneration")):
        assert time.monotonic() < deadline, "the sync did not start dataset_regeneration"
        time.sleep(1.0)
    done("dataset_regeneration", runs[-1]["dag_run_id"])
    as_of = json.loads((demo_scan / "manifest.json").read_bytes())["as_of"]
    run_id = done("global_scan", airflow.trigger("global_scan", {**SCAN_PARAMS, "as_of": as_of, "mode": "full"}))
    return str(airflow.xcom("global_scan", run_id, "plan")["scan_id"])


@pytest.mark.parametrize("name", ["dataset.zst", "input_packages.txt", "package_list.txt"])
def test_the_dataset_is_that_of_the_demo(stack: Stack, published: str, demo_scan: Path, name: str) -> None:
    answer = httpx.get(f"{stack.cdn}/pypi_datasets/{published}/{name}").raise_for_status()
    assert answer.content == (demo_scan / name).read_bytes()


def test_a_worker_reaches_nothing_but_the_mirror(stack: Stack, airflow: AirflowClient) -> None:
    services = {"mirror": 8080, "postgres": 5432, "redis": 6379, "airflow-apiserver": 8080, "object-store": 9000}
    services |= {"airflow-worker": 8793, "worker-2": 2222}
    targets = [(name, address, port) for name, port in services.items() for address in stack.addresses(name)]
    targets += [("the host", address, 22) for address in stack.gateways()]
    code = REACHED.format(targets=[target for _, *target in targets])
    reached = json.loads(stack.compose("exec", "-T", "worker", "/opt/scanner/bin/python", "-c", code))
    assert {name for (name, *_), yes in zip(targets, reached, strict=True) if yes} == {"mirror"}


def test_commands_of_airflow_run_in_the_stack(stack: Stack, airflow: AirflowClient) -> None:
    listed = stack.compose("run", "--rm", "airflow-cli", "dags", "list", "--columns=dag_id", "--output=plain")
    assert set(DAGS) < set(listed.split())
