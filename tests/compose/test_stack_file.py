"""docker-compose.yaml says what docs/compose.md promises: read off the file, without an engine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pypi_scan.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "docker-compose.yaml").read_text(encoding="utf-8")
STACK = yaml.safe_load(TEXT)
SERVICES = STACK["services"]
WORKERS = sorted(name for name in SERVICES if re.fullmatch(r"worker(-\d+)?", name))
OF_AIRFLOW = {
    *("postgres", "redis", "airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-worker"),
    *("airflow-triggerer", "airflow-init", "airflow-cli", "flower"),
}
SECRET = re.compile(r"PASSWORD|SECRET|_KEY|TOKEN|_CONN(_|$)|BROKER|BACKEND")
NO_DEFAULT = re.compile(r"\$\{\w+:-\}")  # unset is nothing


def volumes(service: dict) -> dict[str, str]:
    """{where it is mounted: what is}, of a service."""
    mounts = (re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":") for volume in service.get("volumes", []))
    return {target: source for source, target, *_ in mounts}


def networks(service: dict) -> set[str]:
    return set() if service.get("network_mode") == "none" else set(service.get("networks", ["default"]))


def test_compose_accepts_the_file():
    version = shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True)
    if not version or version.returncode != 0:
        pytest.skip("Docker's compose plugin is not installed")
    command = ["docker", "compose", "--env-file", ".env.example", "-f", "docker-compose.yaml", "--profile", "*"]
    done = subprocess.run([*command, "config", "--quiet"], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_are_those_of_airflows_own_file():
    assert set(SERVICES) >= OF_AIRFLOW
    for anchor in ("x-airflow-common:", "&airflow-common\n", "&airflow-common-env\n", "&airflow-common-depends-on\n"):
        assert anchor in TEXT


def test_no_secret_has_a_value_or_a_default():
    kept = {
        f"{name}: {key}": value
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
        if SECRET.search(key) and not key.endswith(("_FILE", "_CONN_ID")) and not NO_DEFAULT.fullmatch(str(value))
    }
    assert kept == {}
    assert any(SECRET.search(key) for key in SERVICES["airflow-worker"]["environment"])
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assert [line for line in example.splitlines() if SECRET.search(line.partition("=")[0]) and line[0] != "#"] == []


def test_ports_are_on_loopback():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_setting_can_be_given():
    given = {key for key in SERVICES["airflow-worker"]["environment"] if key.startswith("PYPI_SCAN_")}
    assert given == {f"PYPI_SCAN_{name.upper()}" for name in Settings.model_fields}


def test_what_the_example_sets_is_used():
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    names = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) - {"COMPOSE_PROFILES"}
    assert names
    assert {name for name in names if not re.search(rf"\$\{{{name}[:}}]", TEXT)} == set()


def test_images_are_pinned():
    defaults = re.findall(r"\$\{\w+_IMAGE(?:_NAME)?:-([^}]+)\}", TEXT)
    assert len(defaults) >= 7
    assert [image for image in defaults if not re.fullmatch(r"[\w./-]+:(\d+\.\d[\w.-]*|local)", image)] == []
    for dockerfile in PROJECT.glob("docker/*/Dockerfile"):
        text = dockerfile.read_text(encoding="utf-8")
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
        assert re.search(r"^ARG PYTHON_IMAGE=(.*)$", text, re.MULTILINE)[1] in defaults


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_trusted_with_nothing(name):
    worker = SERVICES[name]
    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in worker["security_opt"]
    assert not {"cap_add", "privileged", "user", "ports", "environment", "network_mode", "devices"} & worker.keys()
    assert volumes(worker) == {"/run/secrets": f"{name}-secrets", "/ssd": f"{name}-ssd"}


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_reaches_the_mirror_alone(name):
    assert networks(SERVICES[name]) == {name}
    assert STACK["networks"][name]["internal"] is True
    assert STACK["networks"][name]["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert SERVICES[name]["dns"] == ["127.0.0.1"]
    assert SERVICES[name]["sysctls"] == {"net.ipv6.conf.all.disable_ipv6": "1"}
    assert {other for other, service in SERVICES.items() if name in networks(service)} == {name, "mirror"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"secrets", "postgres"}))
def test_no_other_service_is_root_or_may_become_it(name):
    service = SERVICES[name]
    assert name in WORKERS or not str(service["user"]).startswith("0")  # whose image has a user
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]


def test_a_service_sees_its_own_secrets_only():
    holders: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        if source := volumes(service).get("/run/secrets"):
            assert f"{source}:/run/secrets:ro" in service["volumes"]
            holders.setdefault(source, set()).add(name)
    airflow = {name for name in SERVICES if name.startswith("airflow-")} | {"flower"}
    assert holders.pop("control-secrets") == airflow
    expected = {"postgres", "redis", "object-store", *WORKERS}
    assert {name for names in holders.values() for name in names} == expected
    assert all(len(names) == 1 for names in holders.values())
    made = {volume for volume in volumes(SERVICES["secrets"]).values() if volume.endswith("-secrets")}
    assert made == {"control-secrets", *holders}
