"""Child processes that end when they should: servers of the demo world."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

log = logging.getLogger(__name__)

_STOP_SECONDS = 15.0


class DemoError(Exception):
    """Something in the demo world did not work. The message says what and where to look."""


class Process(Protocol):
    """A server that was started, as far as whoever waits for it looks at it."""

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""

    def poll(self) -> int | None:
        """Look whether it has ended, and how."""


class Start(Protocol):
    """Starts a server as `running` does; a harness may watch over it in another way."""

    def __call__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], logs: Path, cwd: Path
    ) -> AbstractContextManager[Process]:
        """Run it until the block ends."""


@contextmanager
def running(
    name: str, command: Sequence[str], *, env: Mapping[str, str], logs: Path, cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own, its output in ``<logs>/<name>.log``; end the group afterwards.

    It also ends when this process is killed. Raises DemoError if there is no such program.
    """
    command = dying_with_parent(command)
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        finally:
            stop_group(process.pid, wait=process.wait)


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command that also ends when its parent is killed, where util-linux's setpriv is there to arrange that.

    Raises DemoError if there is no such program.
    """
    if not shutil.which(command[0]):
        raise DemoError(f"{command[0]} is not there; run: make setup")
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)


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


def wait_until(ready: Callable[[], bool], what: str, seconds: float, process: Process) -> None:
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
