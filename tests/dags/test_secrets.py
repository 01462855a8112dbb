"""Nothing that a run leaves, logs or shows to other users quotes a secret, but for the places that are to hold it."""

import base64
import gzip
import json
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

import demo.ssh_worker

from .leaks import Onlooker, environments, leaks_below, secrets_in

PACKAGES = ["demo-greeting", "demo-leaky-pypirc", "demo-units"]
# Each file is where its secret is kept, and readable for its owner alone.
KEPT = {
    ("airflow/passwords.json", "password of the web UI"),
    ("state/redaction.key", "redaction key"),
    ("worker/control_key", "SSH key"),  # in this small world the worker and the control host share a disk
}


@pytest.fixture(scope="module")
def seen(live):
    """What an onlooker and the worker's sshd saw of a sync, the datasets and a published scan."""
    commands = []
    run_command = demo.ssh_worker._run_command

    async def noted(process, machine):
        commands.append(process.command or "")
        await run_command(process, machine)

    with pytest.MonkeyPatch.context() as patch, Onlooker() as onlooker:
        patch.setattr(demo.ssh_worker, "_run_command", noted)
        live.run("pypi_sync")
        live.run("dataset_regeneration")
        live.run("global_scan", packages=PACKAGES, shards=1, package_timeout=120, mode="full")
    return onlooker.command_lines, commands


@pytest.fixture(scope="module")
def secrets(live, seen):
    """{what it is: the secret}."""
    world = live.world
    env = next(
        env for env in environments(f"AIRFLOW_HOME={world.root / 'airflow'}") if "AIRFLOW__CORE__FERNET_KEY" in env
    )
    (password,) = json.loads((world.root / "airflow" / "passwords.json").read_bytes()).values()
    return {
        "CDN key": world.store.secret_key,
        "signing key": json.loads(world.env["AIRFLOW_CONN_PYPI_SIGNING"])["password"],
        "SSH key": world.workers[0].key_file.read_text().splitlines()[2],
        "redaction key": (world.root / "state" / "redaction.key").read_text().strip(),
        "password of the web UI": password,
        "Fernet key": env["AIRFLOW__CORE__FERNET_KEY"],
        "key of the web sessions": env["AIRFLOW__API__SECRET_KEY"],
        "key of the tokens": env["AIRFLOW__API_AUTH__JWT_SECRET"],
    }


@pytest.mark.world
def test_what_a_run_leaves_quotes_no_secret(live, secrets):
    root = live.world.root
    assert all(len(secret) >= 16 for secret in secrets.values())
    assert leaks_below(root, secrets) == KEPT
    assert {(root / path).stat().st_mode & 0o077 for path, _ in KEPT} == {0}
    looked_at = {path.relative_to(root).parts[0] for path in root.rglob("*") if path.is_file()}
    assert looked_at >= {"airflow", "logs", "mirror", "scans", "state", "store", "worker"}
    assert list((root / "airflow" / "logs").rglob("*.log"))


@pytest.mark.world
def test_what_goes_on_shows_no_secret_to_other_users_and_none_to_the_worker(live, secrets, seen):
    command_lines, commands = seen
    assert any(b"airflow" in line for line in command_lines)
    assert any(b"scan_shard.py" in line for line in command_lines)
    assert any("job.py" in command for command in commands)
    assert secrets_in(b"\n".join(command_lines), secrets) == set()
    assert secrets_in("\n".join(commands).encode(), secrets) == set()


@pytest.mark.world
def test_no_name_of_a_package_is_part_of_a_command(seen):
    command_lines, commands = seen
    for name in PACKAGES:
        assert [line for line in command_lines if name.encode() in line] == []
        assert [command for command in commands if name in command] == []


def hide(secret: str, where: str, root: Path) -> None:
    """Leave a secret below `root` in a way that a run could."""
    text = f"before {secret} after".encode()
    content = {"plain.log": text, "x.base64": base64.b64encode(text), "x.zst": zstandard.compress(text) * 2}
    content |= {"x.gz": gzip.compress(text), "x.hex": secret.encode().hex().encode()}
    if where == "database":
        with sqlite3.connect(root / "airflow.db") as database:
            database.execute("CREATE TABLE xcom (id INTEGER, value JSON)")
            database.execute("INSERT INTO xcom VALUES (1, ?)", ("x" * 3990 + secret + "x" * 9999,))
        database.close()
    elif where == "archive":
        (root / "file").write_bytes(text)
        with tarfile.open(root / "x.tgz", "w:gz") as archive:
            archive.add(root / "file", "member")
        (root / "file").unlink()
    elif where == "name":
        (root / f"{secret}.txt").touch()
    else:
        (root / where).write_bytes(content[where])


@pytest.mark.parametrize("where", ["plain.log", "x.base64", "x.zst", "x.gz", "x.hex", "database", "archive", "name"])
def test_a_secret_would_be_found(tmp_path, where):
    secrets = {"key": "3f9c0d+d24bb1e78a=", "other": "not-there-0123456789"}
    hide(secrets["key"], where, tmp_path)
    assert {name for _, name in leaks_below(tmp_path, secrets)} == {"key"}


def test_a_secret_in_a_command_line_would_be_seen():
    with Onlooker() as onlooker:
        subprocess.run([sys.executable, "-c", "import sys, time; time.sleep(1)", "planted-secret-0123"], check=True)
    assert secrets_in(b"\n".join(onlooker.command_lines), {"key": "planted-secret-0123"}) == {"key"}
