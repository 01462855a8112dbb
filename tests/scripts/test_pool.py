"""The pool of forked processes on its own, without Aura: what it lets a child use, and what of it survives."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from .test_records import evaluate

GIB = 2**30
# Small programs in which `run(work, tasks)` returns how the child of each task ended, in that order.
POOL = """
import dataclasses, os, signal, time
from pathlib import Path
from cores import Cores
from pool import ForkPool, Limits
limits = Limits(seconds=1, cpu_seconds=60, memory_bytes=2**32, file_bytes=2**20)
def run(work, tasks, **options):
    pool = ForkPool(work, Cores(options.pop("jobs", 2)), options.pop("limits", limits), **options)
    return [(task, dataclasses.asdict(ended)) for task, ended in filter(None, pool.run(tasks))]
def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
"""


def run(worker_python: Path, source: str) -> Any:
    return evaluate(worker_python, "pool, outcome", POOL + source)


@pytest.mark.parametrize(("ignored", "died_of"), [(False, signal.SIGXCPU), (True, signal.SIGKILL)])
def test_cpu_time_is_bounded(worker_python: Path, ignored: bool, died_of: int) -> None:
    source = f"""
limits = dataclasses.replace(limits, seconds=60, cpu_seconds=0.5)
def work(task):
    if {ignored}:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass
pool = ForkPool(work, Cores(1), limits)
((_, ended),) = filter(None, pool.run(["busy"]))
found = outcome.of_child(ended, limits, Path("nothing"))
print(json.dumps([ended.signal, ended.timed_out, found.status, found.reason]))
"""
    reason = "not finished after 0.5 seconds of CPU time"
    assert run(worker_python, source) == [died_of, False, "timeout", reason]


HIDING = {
    "in a session of its own": "os.setsid()",
    "in the group of the parent": "os.setpgid(0, os.getpgid(os.getppid()))",
    "as a daemon": "os.setsid(); os.fork() and os._exit(0)",
}


@pytest.mark.parametrize("stays", [True, False], ids=["until its deadline", "until it ends"])
@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING.keys())
def test_nothing_survives_a_child(worker_python: Path, tmp_path: Path, hide: str, stays: bool) -> None:
    source = f"""
directory = Path({str(tmp_path)!r})
def work(task):
    if os.fork() == 0:
        {hide}
        (directory / "pid.part").write_text(str(os.getpid()))
        (directory / "pid.part").rename(directory / "pid")
        signal.pause()
    wait_for(directory / "pid")
    if {stays}:
        signal.pause()
((_, ended),) = run(work, ["hides"])
pid = int((directory / "pid").read_text())
print(json.dumps([ended["timed_out"], Path(f"/proc/{{pid}}").exists()]))
"""
    assert run(worker_python, source) == [stays, False]
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_what_the_pool_has_not_started_lives_on(worker_python: Path) -> None:
    source = """
import subprocess
with subprocess.Popen(["sleep", "60"]) as other:
    found = run(lambda task: None, ["a", "b"])
    print(json.dumps([len(found), other.poll()]))
    other.kill()
"""
    assert run(worker_python, source) == [2, None]


def test_a_child_that_leaves_its_group_has_a_deadline_too(worker_python: Path) -> None:
    source = """
def work(task):
    os.setpgid(0, os.getpgid(os.getppid()))
    signal.pause()
((_, ended),) = run(work, ["leaves"])
print(json.dumps([ended["timed_out"], ended["signal"]]))
"""
    assert run(worker_python, source) == [True, signal.SIGKILL]


def test_the_youngest_is_put_off_while_memory_is_short(worker_python: Path, tmp_path: Path) -> None:
    source = f"""
directory = Path({str(tmp_path)!r})
limits = dataclasses.replace(limits, seconds=60)
def work(task):
    if task == "old":
        wait_for(directory / "again")
    elif (directory / "young").exists():
        (directory / "again").touch()
    else:
        (directory / "young").touch()
        signal.pause()
def available():
    short = (directory / "young").exists() and not (directory / "enough").exists()
    return 49 if short else 100
found = []
pool = ForkPool(work, Cores(2), limits, 100, available)
for task, ended in filter(None, pool.run(["old", "young"])):
    found.append([task, ended.postponed, ended.exit_code, ended.signal])
    (directory / "enough").touch()
print(json.dumps(found))
"""
    first, *rest = run(worker_python, source)
    assert first == ["young", True, 0, signal.SIGKILL]
    assert sorted(rest) == [["old", False, 0, 0], ["young", False, 0, 0]]


def test_one_child_runs_however_little_memory_there_is(worker_python: Path) -> None:
    source = """
found = run(lambda task: None, ["a", "b", "c"], memfree=1, available=lambda: 0)
print(json.dumps(found))
"""
    found = run(worker_python, source)
    assert [task for task, _ in found] == ["a", "b", "c"]
    assert not any(ended["postponed"] or ended["signal"] for _, ended in found)
    ends = [ended["started"] + ended["seconds"] for _, ended in found]
    assert all(end <= ended["started"] + 0.001 for end, (_, ended) in zip(ends, found[1:], strict=False))


@pytest.mark.parametrize(
    ("available", "running", "advice"),
    [
        (100, 3, "START"),
        (99, 3, "WAIT"),
        (99, 0, "START"),
        (50, 3, "WAIT"),
        (49, 3, "KILL"),
        (49, 2, "KILL"),
        (49, 1, "WAIT"),
        (0, 0, "START"),
    ],
)
def test_advice(worker_python: Path, available: int, running: int, advice: str) -> None:
    source = f"print(json.dumps(memory.advice({available}, 100, {running}).name))"
    assert evaluate(worker_python, "memory", source) == advice


def test_memory_is_what_the_machine_and_every_cgroup_leave(worker_python: Path, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {8 * GIB // 1024} kB\nBuffers: 1 kB\n")
    (tmp_path / "own").write_text("5:memory:/v1\n0::/outer/inner\n")

    def cgroup(path: str, limit: object, used: int, cache: int = 0) -> None:
        directory = tmp_path / "cgroups" / path
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.max").write_text(f"{limit}\n")
        (directory / "memory.current").write_text(f"{used}\n")
        (directory / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 7\n")

    def available() -> Any:
        names = ("meminfo", "own", "cgroups")
        paths = ", ".join(f"Path({str(tmp_path / name)!r})" for name in names)
        return evaluate(
            worker_python, "memory", f"from pathlib import Path\nprint(json.dumps(memory.available({paths})))"
        )

    assert available() == 8 * GIB  # no cgroup v2 is mounted
    cgroup("outer/inner", "max", GIB)
    assert available() == 8 * GIB
    cgroup("outer", 4 * GIB, 3 * GIB, GIB)
    assert available() == 2 * GIB
    cgroup("outer/inner", 2 * GIB, GIB)
    assert available() == GIB
    cgroup("outer/inner", GIB, GIB + 4096)
    assert available() == 0
    (tmp_path / "own").write_text("5:memory:/v1\n")
    assert available() == 8 * GIB


def test_memory_of_this_machine(worker_python: Path) -> None:
    found = evaluate(worker_python, "memory", "print(json.dumps(memory.available()))")
    assert 0 < found < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
