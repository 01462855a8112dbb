"""The demo's worker node: an SSH server on loopback that runs commands as the current user.

It speaks SSH and SFTP as OpenSSH does, accepts one key, and shows a host key of its own, which the connection pins.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from demo.processes import stop_group

_JOB = Path(__file__).resolve().parents[1] / "scripts" / "job.py"


@dataclass(frozen=True)
class SSHWorker:
    """Where the worker listens, what opens it, and how to know that it is the right one."""

    host: str
    port: int
    username: str
    key_file: Path
    host_key: str
    home: Path


@contextmanager
def ssh_worker(home: Path) -> Iterator[SSHWorker]:
    """Run the worker with `home` as home directory; its jobs that still run at the end are ended."""
    home.mkdir(parents=True, exist_ok=True)
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    key_file = home / "control_key"
    key_file.unlink(missing_ok=True)
    key_file.touch(0o600)
    key_file.write_bytes(user_key.export_private_key())
    authorized = asyncssh.import_authorized_keys(user_key.export_public_key().decode())

    machine = _Machine(home)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ssh-worker", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_listen(machine, host_key, authorized), loop).result()
    try:
        yield SSHWorker(
            host="127.0.0.1",
            port=server.get_port(),
            username="worker",
            key_file=key_file,
            host_key=host_key.export_public_key().decode().strip(),
            home=home,
        )
    finally:
        asyncio.run_coroutine_threadsafe(_close(server, machine), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        end_jobs(home)


@dataclass
class _Machine:
    """What goes on in the worker: its open connections, and the commands they run."""

    home: Path
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)
    commands: set["asyncio.Task[Any]"] = field(default_factory=set)


class _Server(asyncssh.SSHServer):  # type: ignore[misc]  # mypy does not follow asyncssh
    def __init__(self, machine: _Machine) -> None:
        self._connections = machine.connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._connection)


async def _listen(
    machine: _Machine, host_key: asyncssh.SSHKey, authorized: asyncssh.SSHAuthorizedKeys
) -> asyncssh.SSHAcceptor:
    return await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Server(machine),
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        password_auth=False,
        kbdint_auth=False,
        process_factory=lambda process: _run_command(process, machine),
        sftp_factory=asyncssh.SFTPServer,
        encoding=None,
    )


async def _run_command(process: "asyncssh.SSHServerProcess[bytes]", machine: _Machine) -> None:
    environment = {"HOME": str(machine.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    child = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        process.command or "",
        cwd=machine.home,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    command = asyncio.current_task()
    assert command
    machine.commands.add(command)
    # Not by process.redirect: where stdout ends first, it ends the channel, and what comes on stderr is lost.
    feeding = asyncio.create_task(_copy(process.stdin, child.stdin, then_close=True))
    copying = [
        asyncio.create_task(_copy(child.stdout, process.stdout)),
        asyncio.create_task(_copy(child.stderr, process.stderr)),
    ]
    try:
        await asyncio.wait(copying)
        exit_code = await child.wait()
        with contextlib.suppress(OSError):  # the client is gone
            process.exit(exit_code if exit_code >= 0 else 128 - exit_code)
    finally:
        feeding.cancel()
        if child.returncode is None:
            stop_group(child.pid)
            await child.wait()
            await asyncio.wait(copying, timeout=1)
        machine.commands.discard(command)


async def _copy(source: Any, target: Any, *, then_close: bool = False) -> None:
    """Copy a stream to its end; what the other side no longer takes is dropped."""
    while data := await source.read(64 * 1024):
        with contextlib.suppress(OSError):
            target.write(data)
            await target.drain()
    if then_close:
        target.close()


async def _close(server: asyncssh.SSHAcceptor, machine: _Machine) -> None:
    server.close()
    commands = list(machine.commands)
    for command in commands:
        command.cancel()
    await asyncio.gather(*commands, return_exceptions=True)
    for connection in list(machine.connections):  # the server waits for those that clients keep open
        connection.abort()
    await server.wait_closed()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def end_jobs(home: Path) -> None:
    """End the detached jobs that run below `home`; how is told by include/scripts/job.py."""
    for jobs in {state.parent.parent for state in home.glob("**/jobs/*/state")}:
        subprocess.run([sys.executable, "-ES", str(_JOB), "end-all", str(jobs)], check=True)
