"""The faults: when each strikes, what it does, and how the run is to end.

A fault is a function of the world and a run that has just been triggered. It waits for its moment, by what it sees of
the real system, and does its harm. What comes after a ``yield`` is done once the run has ended: what a person mends
before clearing what failed.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .faulty_world import FaultyWorld, Run
from .services import command_line, kill_all

BY_ITSELF = "by itself"
ONE_CLEAR = "after one clear of the failed tasks"

Strike = Callable[[FaultyWorld, Run], Iterator[None] | None]


@dataclass(frozen=True)
class Fault:
    """A fault; `when` and `what` are for the table of them, `ends` is BY_ITSELF or ONE_CLEAR."""

    name: str
    when: str
    what: str
    ends: str
    strike: Strike


FAULTS: list[Fault] = []


def fault(when: str, what: str, ends: str = BY_ITSELF) -> Callable[[Strike], Strike]:
    """Add the decorated function to the faults."""

    def add(strike: Strike) -> Strike:
        FAULTS.append(Fault(strike.__name__, when, what, ends, strike))
        return strike

    return add


IN_A_SCAN = "3 packages are scanned, the scan of a shard goes on"


@fault(IN_A_SCAN, "PostgreSQL is restarted: every connection to it ends")
def database_restarted(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.services["postgres"].kill(signal.SIGINT)


@fault("pack runs", "kill -9 of the process of the task pack")
def pack_killed(where: FaultyWorld, run: Run) -> None:
    def processes() -> list[int]:
        pids = [task["pid"] for task in run.tasks("pack", "running")]
        return [pid for pid in pids if pid and "airflow" in command_line(pid)]

    run.wait_for(processes, "pack running")
    kill_all(processes())


@fault(IN_A_SCAN, "kill -9 of scan_shard.py, the parent of the scan")
def scan_killed(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    kill_all(where.on_worker("scan_shard.py"))


@fault(IN_A_SCAN, "everything on the worker is killed and sshd comes back, as when the machine restarts")
def worker_restarted(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.services["sshd"].kill()
    kill_all(where.on_worker())
    where.network.reset()


@fault(IN_A_SCAN, "every connection to the worker is reset")
def network_reset(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.network.reset()
