"""The demo's SSH worker: who may come in, what it says, and that nothing of it is left."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from demo.ssh_worker import SSHWorker, ssh_worker

from .listening import listening_addresses
from .test_processes import alive, wait_for


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[SSHWorker]:
    with ssh_worker(tmp_path / "home") as worker:
        yield worker


def connect(worker: SSHWorker, **options: Any) -> Any:
    known = asyncssh.import_known_hosts(f"[{worker.host}]:{worker.port} {worker.host_key}")
    defaults = {"client_keys": [str(worker.key_file)], "known_hosts": known, "username": worker.username}
    return asyncssh.connect(worker.host, worker.port, agent_path=None, config=None, **{**defaults, **options})


def run(worker: SSHWorker, command: str) -> Any:
    async def run() -> Any:
        async with connect(worker) as connection:
            return await connection.run(command)

    return asyncio.run(run())


def test_commands(worker: SSHWorker) -> None:
    done = run(worker, "pwd; echo problem >&2; exit 3")
    assert (done.stdout, done.stderr, done.exit_status) == (f"{worker.home}\n", "problem\n", 3)
    assert run(worker, "kill -KILL $$").exit_status == 128 + 9
    assert run(worker, "echo $HOME").stdout == f"{worker.home}\n"


@pytest.mark.parametrize(("first", "closing", "last"), [("", ">&-", ">&2"), (">&2", "2>&-", "")])
def test_no_output_is_lost(worker: SSHWorker, first: str, closing: str, last: str) -> None:
    """One of the two streams ends well before the other."""
    size = 100_000
    write = f"head -c {size} /dev/zero"
    done = run(worker, f"{write} {first}; exec {closing}; sleep 0.1; {write} {last}")
    assert (len(done.stdout), len(done.stderr)) == (size, size)


def test_a_command_reads_what_it_is_sent(worker: SSHWorker) -> None:
    async def send() -> Any:
        async with connect(worker) as connection:
            return await connection.run("cat; echo end", input="x" * 300_000)

    assert asyncio.run(send()).stdout == "x" * 300_000 + "end\n"


def test_only_the_key_opens_it(worker: SSHWorker) -> None:
    async def come_in(**options: Any) -> None:
        async with connect(worker, **options) as connection:
            await connection.run(f"touch {worker.home / 'inside'}")

    other = asyncssh.generate_private_key("ssh-ed25519")
    for options in ({"client_keys": None, "password": "worker"}, {"client_keys": [other]}, {"client_keys": None}):
        with pytest.raises(asyncssh.PermissionDenied):
            asyncio.run(come_in(**options))
    assert not (worker.home / "inside").exists()
    assert worker.key_file.stat().st_mode & 0o777 == 0o600


def test_every_worker_has_keys_of_its_own(worker: SSHWorker, tmp_path: Path) -> None:
    with ssh_worker(tmp_path / "another") as another:
        assert another.host_key != worker.host_key
        assert another.key_file.read_bytes() != worker.key_file.read_bytes()


def test_only_this_machine_can_connect(worker: SSHWorker) -> None:
    assert listening_addresses(worker.port) == {"127.0.0.1"}


def test_detached_jobs_outlive_their_connection_but_not_the_worker(tmp_path: Path) -> None:
    job = Path(__file__).resolve().parents[2] / "include" / "scripts" / "job.py"
    order = '{"programs": [{"command": ["sh", "-c", "echo $$ > pid; exec sleep 1000"], "seconds": 1000}]}'
    pid_file = tmp_path / "home" / "pid"
    with ssh_worker(tmp_path / "home") as worker:
        started = run(worker, f"echo '{order}' | {sys.executable} {job} start pypi-scan/jobs/1 --owner=me")
        assert started.exit_status == 0
        wait_for(lambda: pid_file.exists() and pid_file.read_text())
        pid = int(pid_file.read_text())
        assert run(worker, f"kill -0 {pid}").exit_status == 0
    wait_for(lambda: not alive(pid))


def test_it_ends_with_clients_and_commands_still_there(tmp_path: Path) -> None:
    """A client that was not closed, in the middle of a command, must not hold it up."""
    pid_file, ended = tmp_path / "home" / "pid", threading.Event()

    async def stay(worker: SSHWorker) -> None:
        async with connect(worker) as connection:
            command = asyncio.create_task(connection.run("echo $$ > pid; exec sleep 1000"))
            await asyncio.to_thread(ended.wait, 20)
            await asyncio.gather(command, return_exceptions=True)

    with ssh_worker(tmp_path / "home") as worker:
        client = threading.Thread(target=lambda: asyncio.run(stay(worker)))
        client.start()
        wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        before = time.monotonic()
    took = time.monotonic() - before
    ended.set()
    client.join(10)
    assert took < 5
    assert not client.is_alive()
    wait_for(lambda: not alive(int(pid_file.read_text())))
