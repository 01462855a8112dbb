"""The demo's worker node: an SSH server on loopback that runs commands as the current user.

It speaks SSH and SFTP as OpenSSH does, accepts one key, and shows a host key of its own, which the connection pins.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from demo.processes import stop_group


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

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ssh-worker", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_listen(home, host_key, authorized), loop).result()
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
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        _end_jobs(home)


async def _listen(
    home: Path, host_key: asyncssh.SSHKey, authorized: asyncssh.SSHAuthorizedKeys
) -> asyncssh.SSHAcceptor:
    return await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        password_auth=False,
        kbdint_auth=False,
        process_factory=lambda process: _run_command(process, home),
        sftp_factory=asyncssh.SFTPServer,
        encoding=None,
    )


async def _run_command(process: "asyncssh.SSHServerProcess[bytes]", home: Path) -> None:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    child = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        process.command or "",
        cwd=home,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    exit_code = await child.wait()
    await process.stdout.drain()
    process.exit(exit_code if exit_code >= 0 else 128 - exit_code)
    await process.wait_closed()


async def _close(server: asyncssh.SSHAcceptor) -> None:
    server.close()
    await server.wait_closed()
    current = asyncio.current_task()
    for task in asyncio.all_tasks() - {current}:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncssh.Error):
            await task


def _end_jobs(home: Path) -> None:
    """End detached jobs (worker_jobs keeps each one's process group in ``jobs/<id>/pid`` until it has an exit code)."""
    for pid_file in home.glob("**/jobs/*/pid"):
        if not (pid_file.parent / "exit_code").exists():
            stop_group(int(pid_file.read_text(encoding="ascii")))
