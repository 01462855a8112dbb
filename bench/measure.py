"""Runs a command and measures it whole: every process it starts counts."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.25  # seconds between two looks at the memory
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """What a command took. `cpu_seconds` are of all its processes, `peak_mb` is the most they had at one time.

    `elsewhere` is the number of cores, on average, that other processes of the machine kept busy meanwhile. Times are
    seconds, `started` is since the epoch, megabytes are of 10^6 bytes.
    """

    exit_code: int
    started: float
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    elsewhere: float


def run(command: list[str], environment: Mapping[str, str], log: Path, directory: Path) -> Measured:
    """Run `command` in `directory`, with the variables `environment` added to this process's own.

    What it prints goes to the file `log`.
    """
    busy_before = _busy_seconds()
    started, began = time.time(), time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        memory = _MemoryWatch(process.pid)
        memory.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)  # its own and that of all it has waited for
        except BaseException:
            process.terminate()  # whoever stops the benchmark stops what it measures
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        memory.stop()
    cpu = usage.ru_utime + usage.ru_stime
    elsewhere = max(0.0, _busy_seconds() - busy_before - cpu) / wall
    return Measured(process.returncode, started, wall, cpu, memory.peak / 1e6, elsewhere)


class _MemoryWatch(threading.Thread):
    """Looks at the memory of a process and of all its descendants.

    What counts is the proportional set size: pages that several processes share are counted once.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._root = root
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_EVERY):
            self.peak = max(self.peak, sum(map(_proportional_bytes, _family(self._root))))

    def stop(self) -> None:
        """Return when the last look is over."""
        self._stopped.set()
        self.join()


def _family(root: int) -> list[int]:
    """Return `root` and the numbers of all processes it has started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has ended
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    family = [root]
    for member in family:
        family.extend(children.get(member, ()))
    return family


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _busy_seconds() -> float:
    """Return the CPU seconds that the whole machine has worked since it started."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text(encoding="ascii").split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICKS
