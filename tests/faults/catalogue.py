"""The faults: when each strikes, what it does, and how the run is to end.

A fault is a function of the world and a run that has just been triggered. It waits for its moment, by what it sees of
the real system, and does its harm. What comes after a ``yield`` is done once the run has ended: what a person mends
before clearing what failed.
"""

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from demo.static_server import Response
from demo.upstream import publish_release

from .aftermath import eventually_none
from .faulty_world import FaultyWorld, Run
from .services import command_line, kill_all, parent
from .tcp_proxy import INTERNAL_ERROR

BY_ITSELF = "by itself"
ONE_CLEAR = "after one clear of the failed tasks"
_AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")

_MEMORY = Path("/sys/fs/cgroup/memory")
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")

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
IN_A_PREFETCH = "the first prefetch begins"
IN_PUBLISH = "the dataset is about to be published"


# Services of the control host


def _kill_service(name: str, number: int = signal.SIGKILL) -> Strike:
    def strike(where: FaultyWorld, run: Run) -> None:
        run.until_scanning()
        before = where.services[name].starts
        where.services[name].kill(number)
        run.wait_for(lambda: where.services[name].starts > before, f"{name} back")

    return strike


for _service in _AIRFLOW:
    _name = _service.removeprefix("airflow-")
    FAULTS.append(Fault(f"{_name}_killed", IN_A_SCAN, f"kill -9 of the {_name}", BY_ITSELF, _kill_service(_service)))


@fault(IN_A_SCAN, "kill -9 of every service of Airflow and of the database at once, as when the control host restarts")
def control_host_restarted(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    for name in (*_AIRFLOW, "postgres"):
        where.services[name].kill()


@fault(IN_A_SCAN, "PostgreSQL is restarted: every connection to it ends")
def database_restarted(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.services["postgres"].kill(signal.SIGINT)


@fault(IN_A_SCAN, "kill -9 of PostgreSQL")
def database_killed(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.services["postgres"].kill()


def _kill_task(task_id: str) -> Strike:
    def strike(where: FaultyWorld, run: Run) -> None:
        def processes() -> list[int]:
            # A task's process is a fork that has no command line of its own: it is told by the log that it writes.
            running = run.tasks(task_id, "running")
            return [task["pid"] for task in running if task["pid"] and "airflow" in command_line(task["pid"])]

        run.wait_for(processes, f"{task_id} running")
        kill_all(processes())

    return strike


for _task in ("plan", "divide", "collect", "pack", "publish"):
    FAULTS.append(
        Fault(
            f"{_task}_killed",
            f"{_task} runs",
            f"kill -9 of the process of the task {_task}",
            BY_ITSELF,
            _kill_task(_task),
        )
    )


# The worker


@fault(IN_A_SCAN, "kill -9 of scan_shard.py, the parent of the scan")
def scan_killed(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    pids = where.on_worker("scan_shard.py")
    kill_all(pids)


@fault(IN_A_SCAN, "kill -9 of the process that scans one package, as the kernel does when memory runs out")
def child_killed(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()

    def children() -> list[int]:
        scans = where.on_worker("scan_shard.py")
        return [pid for pid in scans if parent(pid) in scans and "bash" not in command_line(parent(pid))]

    run.wait_for(children, "a package under way")
    kill_all(children()[-1:])


@fault(IN_A_PREFETCH, "kill -9 of prefetch.py; the mirror is slow, so that it is in the middle of it")
def prefetch_killed(where: FaultyWorld, run: Run) -> None:
    where.mirror.rate = 20_000
    run.wait_for(lambda: where.on_worker("prefetch.py"), "a prefetch")
    kill_all(where.on_worker("prefetch.py"))
    where.mirror.restore()


@fault(IN_A_SCAN, "kill -9 of sshd and of its sessions; jobs go on")
def sshd_killed(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.services["sshd"].kill()
    where.network.reset()


@fault(IN_A_SCAN, "everything on the worker is killed and sshd comes back, as when the machine restarts")
def worker_restarted(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.services["sshd"].kill()
    kill_all(where.on_worker())
    where.network.reset()


@fault("the scan of a shard has ended", "the results of the shard are removed from the worker's disk before collect")
def results_removed(where: FaultyWorld, run: Run) -> None:
    def results() -> list[Path]:
        assert run.scan_dir
        return list((where.work_dir / "scans" / run.scan_id / "results").glob("*/status.jsonl"))

    run.wait_for(lambda: run.scan_dir and results(), "results")
    shutil.rmtree(results()[0].parent)


def _change_result(change: Callable[[Path], object]) -> Strike:
    def strike(where: FaultyWorld, run: Run) -> None:
        def results() -> list[Path]:
            found = (where.work_dir / "scans" / run.scan_dir.name).glob("results/*/records.jsonl.zst")
            return list(found) if run.scan_dir else []

        run.wait_for(lambda: run.scan_dir and results(), "results")
        change(results()[0])

    return strike


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


for _how, _what, _lie in (
    ("forged", "the worker returns other bytes than its records", lambda path: path.write_bytes(b"lies")),
    ("linked", "the worker has a symbolic link in place of its records", _link),
    ("flooding", "the worker returns a terabyte in place of its records", lambda path: os.truncate(path, 1 << 40)),
):
    FAULTS.append(Fault(f"results_{_how}", "the scan of a shard has ended", _what, BY_ITSELF, _change_result(_lie)))


@fault(IN_A_SCAN, "a person clears the task that scans: its job is followed on, or ended and begun again")
def scan_cleared(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.airflow.clear("global_scan", run.run_id, run.tasks("scan", "deferred"))


@fault(IN_A_SCAN, "a person marks the scan of shards failed: their jobs end, and go on when it is cleared", ONE_CLEAR)
def scan_marked_failed(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    scanning = set(where.on_worker("scan_shard.py"))
    for task in run.tasks("scan", "deferred"):
        path = f"/dags/global_scan/dagRuns/{run.run_id}/taskInstances/{task['task_id']}/{task['map_index']}"
        where.airflow.request("PATCH", path, json={"new_state": "failed"})
    eventually_none(
        lambda: scanning.intersection(where.on_worker("scan_shard.py")), "jobs of tasks that were marked failed", 60
    )


@fault(IN_A_SCAN, "the memory of the scan is limited to 2 MB more until the kernel has killed a process for want of it")
def memory_exhausted(where: FaultyWorld, run: Run) -> Iterator[None]:
    run.until_scanning()
    group = _MEMORY / f"faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"memory cannot be limited here: {error}")
    limit = group / "memory.limit_in_bytes"
    limit.write_text(str(2 << 20))

    def killed() -> bool:
        for pid in where.on_worker("scan_shard.py"):
            with contextlib.suppress(OSError):
                (group / "cgroup.procs").write_text(str(pid))
        return "oom_kill 0" not in (group / "memory.oom_control").read_text()

    try:
        run.wait_for(killed, "a process killed for want of memory")
        limit.write_text("-1")
        yield
    finally:
        limit.write_text("-1")
        for pid in (group / "cgroup.procs").read_text().split():
            (_MEMORY / "cgroup.procs").write_text(pid)
        group.rmdir()


@fault(IN_A_SCAN, "the worker's clock jumps ahead by a day, and back by two")
def clock_jumps(where: FaultyWorld, run: Run) -> Iterator[None]:
    if not _FAKETIME.exists():
        pytest.skip("libfaketime is not installed; on Debian: apt-get install faketime")
    clock = where.home / "clock"
    clock.write_text("+0")
    configuration = where.home / "sshd_config"
    before = configuration.read_text()
    configuration.write_text(
        f"{before.rstrip()} LD_PRELOAD={_FAKETIME} FAKETIME_TIMESTAMP_FILE={clock} FAKETIME_NO_CACHE=1\n"
    )
    try:
        where.services["sshd"].kill()
        run.until_scanning()
        for jump in ("+1d", "-1d"):
            scanned = run.scanned()
            clock.write_text(jump)
            run.wait_for(lambda scanned=scanned: run.scanned() != scanned, "another package scanned")  # type: ignore[misc]
        yield
    finally:
        configuration.write_text(before)
        where.services["sshd"].kill()


@fault(IN_A_SCAN, "the network to the worker is cut for 5 minutes: nothing comes through, nothing says so")
def network_cut(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.network.swallow()
    run.wait_for(_after(300), "5 minutes", 400)
    where.network.restore()


@fault(IN_A_SCAN, "every connection to the worker is reset")
def network_reset(where: FaultyWorld, run: Run) -> None:
    run.until_scanning()
    where.network.reset()


@fault(IN_A_SCAN, "the worker is gone for longer than the tasks' retries last", ONE_CLEAR)
def network_gone(where: FaultyWorld, run: Run) -> Iterator[None]:
    run.until_scanning()
    where.network.answer = b""
    where.network.reset()
    yield
    where.network.restore()


# The mirror


def _tampered(change: Callable[[Response], Response], times: int = 5) -> Strike:
    def strike(where: FaultyWorld, run: Run) -> None:
        done = 0

        def tamper(path: str, response: Response) -> Response:
            nonlocal done
            if not path.startswith("/packages/") or done >= times:
                return response
            done += 1
            return change(response)

        where.world.mirror.tamper = tamper
        try:
            run.wait_for(lambda: done >= times, f"{times} answers of the mirror")
        finally:
            where.world.mirror.tamper = None

    return strike


def _content(response: Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else response.body.read_bytes()


def _status(status: HTTPStatus) -> Callable[[Response], Response]:
    return lambda response: Response(status)


def _half(response: Response) -> Response:
    return replace(response, body=_content(response)[: len(_content(response)) // 2])


def _reversed(response: Response) -> Response:
    return replace(response, body=_content(response)[::-1])


for _how, _what, _change in (
    ("500", "answers 500", _status(HTTPStatus.INTERNAL_SERVER_ERROR)),
    ("truncated", "sends half of a file", _half),
    ("wrong", "sends other bytes than a file's", _reversed),
):
    FAULTS.append(
        Fault(
            f"mirror_{_how}",
            IN_A_PREFETCH,
            f"the mirror's web server {_what}, five times",
            BY_ITSELF,
            _tampered(_change),
        )
    )


@fault(IN_A_PREFETCH, "the mirror's web server sends 30 kB a second for ten seconds")
def mirror_slow(where: FaultyWorld, run: Run) -> None:
    where.mirror.rate = 30_000
    run.wait_for(lambda: where.on_worker("prefetch.py"), "a prefetch")
    run.wait_for(_after(10), "10 seconds")
    where.mirror.restore()
    where.mirror.reset()


@fault(IN_A_PREFETCH, "the mirror's web server is stopped, and started five seconds later")
def mirror_restarted(where: FaultyWorld, run: Run) -> None:
    where.mirror.rate = 20_000
    run.wait_for(lambda: where.on_worker("prefetch.py"), "a prefetch")
    where.world.mirror.stop()
    where.mirror.restore()
    run.wait_for(_after(5), "5 seconds")
    where.world.mirror.start()


# Upstream: a sync beside the scan; what a scan of this date sees of the mirror stays the same


def _sync_from(change: Callable[[Response], Response], path_part: str, version: str) -> Strike:
    def strike(where: FaultyWorld, run: Run) -> None:
        run.until_scanning(1)
        server, package = where.world.upstream, "demo-greeting"
        publish_release(where.world.root / "upstream", package, version, uploaded=datetime(2026, 11, 15, tzinfo=UTC))
        done = 0

        def tamper(path: str, response: Response) -> Response:
            nonlocal done
            if path_part not in path or (path_part == "/packages/" and version not in path):
                return response
            done += 1
            return change(response)

        server.tamper = tamper
        try:
            where.sync(run)
        finally:
            server.tamper = None
        assert done, "the sync did not meet the fault"
        where.sync(run)
        files = list((where.world.root / "mirror" / "web" / "packages").rglob(f"*{version}*"))
        originals = list((where.world.root / "upstream" / "web" / "packages").rglob(f"*{version}*"))
        assert {path.name: path.read_bytes() for path in files} == {path.name: path.read_bytes() for path in originals}

    return strike


def _late(response: Response) -> Response:
    time.sleep(2)
    return response


for _number, (_how, _what, _change, _part) in enumerate(
    (
        ("root_500", "answers 500 for its list of projects", _status(HTTPStatus.INTERNAL_SERVER_ERROR), "/simple"),
        ("file_500", "answers 500 for a file", _status(HTTPStatus.INTERNAL_SERVER_ERROR), "/packages/"),
        ("file_404", "answers 404 for a file", _status(HTTPStatus.NOT_FOUND), "/packages/"),
        ("truncated", "sends half of a file", _half, "/packages/"),
        ("wrong_hash", "sends other bytes than a file's", _reversed, "/packages/"),
        ("slow", "takes two seconds for an answer", _late, "/packages/"),
    )
):
    FAULTS.append(
        Fault(
            f"upstream_{_how}",
            "a sync runs beside the scan",
            f"upstream {_what}; the sync after that mends it",
            BY_ITSELF,
            _sync_from(_change, _part, f"90.{_number}"),
        )
    )


# The object store


@fault(IN_PUBLISH, "the object store answers 500 for five seconds")
def store_500(where: FaultyWorld, run: Run) -> None:
    run.wait_for(lambda: run.tasks("publish", "queued", "running"), "publish")
    where.store.answer = INTERNAL_ERROR
    where.store.reset()
    run.wait_for(_after(5), "5 seconds")
    where.store.restore()


@fault(IN_PUBLISH, "the object store answers 500 for longer than the task's retries last", ONE_CLEAR)
def store_500_for_long(where: FaultyWorld, run: Run) -> Iterator[None]:
    run.wait_for(lambda: run.tasks("publish", "queued", "running"), "publish")
    where.store.answer = INTERNAL_ERROR
    where.store.reset()
    yield
    where.store.restore()


@fault(IN_PUBLISH, "the object store takes 20 kB a second")
def store_slow(where: FaultyWorld, run: Run) -> Iterator[None]:
    run.wait_for(lambda: run.tasks("pack", "success"), "pack")
    where.store.rate = 20_000
    yield
    where.store.restore()


@fault(IN_PUBLISH, "the connection to the object store is cut in mid-upload, five times")
def store_cut(where: FaultyWorld, run: Run) -> None:
    run.wait_for(lambda: run.tasks("editions", "success", "running"), "editions")
    cuts = where.store.cuts
    where.store.cut_after = 20_000
    run.wait_for(lambda: where.store.cuts >= cuts + 5, "five cuts")
    where.store.restore()


@fault(IN_PUBLISH, "kill -9 of the object store")
def store_killed(where: FaultyWorld, run: Run) -> None:
    run.wait_for(lambda: run.tasks("publish", "queued", "running"), "publish")
    where.services["s3"].kill()


# Disks


def _fill(disk: Path) -> Path:
    if not disk.is_mount():
        pytest.skip("only root can give a directory a disk of its own that can be full")
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:  # what else is written there meanwhile helps to fill it
                file.write(bytes(1 << 20))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast


@fault(IN_A_SCAN, "the worker's disk is full until the run has failed", ONE_CLEAR)
def worker_disk_full(where: FaultyWorld, run: Run) -> Iterator[None]:
    run.until_scanning()
    ballast = _fill(where.work_dir)
    yield
    ballast.unlink()


@fault(IN_A_SCAN, "the disk of scans_dir is full until the run has failed", ONE_CLEAR)
def control_disk_full(where: FaultyWorld, run: Run) -> Iterator[None]:
    run.until_scanning()
    ballast = _fill(where.world.scans)
    yield
    ballast.unlink()


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
