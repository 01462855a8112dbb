"""Servers that are started again when they end, as systemd would, and what is known of the processes of the world."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from demo.processes import dying_with_parent, stop_group

SERVICE = "FAULTS_SERVICE"
"""The environment variable that says to which service a process belongs; what it starts inherits it."""

_RESTART_SECONDS = 1.0


class Service:
    """A server that is started again a second after it ended; what it left running is ended first."""

    def __init__(self, name: str, world: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name = name
        self.starts = 0
        self.returncode: int | None = None
        self._world = world
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = Event()
        self._held = Event()
        self._thread = Thread(target=self._watch, name=name, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Its main process now; 0 between two of them."""
        return self._process.pid if self._process else 0

    def poll(self) -> int | None:
        """Return None: it always comes back."""
        return None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the main process a signal."""
        os.kill(self.pid, number)

    def end(self) -> None:
        """End it for good."""
        self._ending.set()
        if self._process:
            stop_group(self._process.pid)
        self._thread.join()

    def _watch(self) -> None:
        # In this thread all along: a server ends with the thread that started it.
        while not self._ending.is_set():
            self._process = self._start()
            self.starts += 1
            self._process.wait()
            pid, self._process = self._process.pid, None
            stop_group(pid)
            for left in processes({SERVICE: f"{self._world}:{self.name}"}):
                _kill(left)
            self._ending.wait(_RESTART_SECONDS)


class Services:
    """Every service of one world, by name; `start` is a `demo.processes.Start`."""

    def __init__(self, world: str) -> None:
        self._world = world
        self._by_name: dict[str, Service] = {}

    def __getitem__(self, name: str) -> Service:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Service]:
        return iter(list(self._by_name.values()))

    @contextmanager
    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], logs: Path, cwd: Path
    ) -> Iterator[Service]:
        """Keep a server running until the block ends; its output is added to ``<logs>/<name>.log``."""
        logs.mkdir(parents=True, exist_ok=True)
        full = {**env, SERVICE: f"{self._world}:{name}"}
        options: dict[str, Any] = {"env": full, "cwd": cwd, "stdin": subprocess.DEVNULL, "start_new_session": True}

        def launch() -> subprocess.Popen[bytes]:
            with (logs / f"{name}.log").open("ab") as output:
                return subprocess.Popen(dying_with_parent(command), stdout=output, stderr=output, **options)

        service = self._by_name[name] = Service(name, self._world, launch)
        try:
            yield service
        finally:
            service.end()
            del self._by_name[name]


def processes(variables: Mapping[str, str]) -> list[int]:
    """Return the live processes that were started with these environment variables."""
    wanted = [f"{name}={value}".encode() for name, value in variables.items()]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(pid := int(entry.name)):
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if all(any(held.startswith(want) for held in environment) for want in wanted):
                found.append(pid)
    return found


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def parent(pid: int) -> int:
    """Return the parent of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has to itself or shares, in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def descends_from(pid: int, ancestor: int) -> bool:
    """Whether `ancestor` is the process itself, its parent, or one of theirs."""
    while pid > 1 and pid != ancestor:
        pid = parent(pid)
    return pid == ancestor


def kill_all(pids: Sequence[int]) -> None:
    """Kill processes at once."""
    for pid in pids:
        _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
