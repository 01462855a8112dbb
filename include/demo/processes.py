"""Child processes that end when they should: servers of the demo world."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_STOP_SECONDS = 15.0


class DemoError(Exception):
    """Something in the demo world did not work. The message says what and where to look."""


@contextmanager
def running(
    name: str, command: Sequence[str], *, env: Mapping[str, str], logs: Path, cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own, its output in ``<logs>/<name>.log``; end the group afterwards.

    It also ends when this process is killed, where util-linux's setpriv is there to arrange that. Raises DemoError if
    there is no such program.
    """
    if not shutil.which(command[0]):
        raise DemoError(f"{command[0]} is not there; run: make setup")
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "TERM", *command]
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        finally:
            stop_group(process.pid, wait=process.wait)


def stop_group(pgid: int, wait: Callable[..., object] | None = None) -> None:
    """End a process group: ask first, then force. `wait` waits for its leader, where that is a child of ours."""
    try:
        os.killpg(pgid, signal.SIGTERM)
        if wait:
            try:
                wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("process group %d did not end when asked to", pgid)
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if wait:
        wait()


def wait_until(ready: Callable[[], bool], what: str, seconds: float, process: subprocess.Popen[bytes]) -> None:
    """Poll until `ready`; raises DemoError if `process` ends before that, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise DemoError(f"{what} ended with exit code {process.returncode} before it was ready; see its log")
        if time.monotonic() > deadline:
            raise DemoError(f"{what} was not ready after {seconds:.0f} seconds; see its log")
        time.sleep(0.1)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
