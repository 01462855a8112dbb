"""Scans of several shards on one worker, which share its cores."""

import fcntl
import subprocess
from pathlib import Path
from typing import Any

from .conftest import Shard, command, sdist
from .test_pool import run as run_pool
from .test_records import evaluate
from .test_scan_shard import statuses

SHARE = """
from cores import Cores, turn
mine, yours = Cores(2, Path("cores")), Cores(2, Path("cores"))
"""


def run(worker_python: Path, source: str, tmp_path: Path) -> Any:
    return evaluate(
        worker_python, "os", f"import os\nfrom pathlib import Path\nos.chdir({str(tmp_path)!r})\n" + SHARE + source
    )


def test_a_core_is_taken_once_among_all_and_given_back(worker_python: Path, tmp_path: Path) -> None:
    source = """
taken = [mine.take(), yours.take(), mine.take(), yours.take()]
mine.give_back(0)
print(json.dumps([taken, yours.take(), Cores(1).take()]))
"""
    assert run(worker_python, source, tmp_path) == [[0, 1, None, None], 0, 0]


def test_cores_of_a_scan_that_is_killed_are_free(worker_python: Path, tmp_path: Path) -> None:
    source = """
if (pid := os.fork()) == 0:
    Cores(2, Path("cores")).take(), Cores(2, Path("cores")).take()
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
print(json.dumps([mine.take(), mine.take()]))
"""
    assert run(worker_python, source, tmp_path) == [0, 1]


def test_a_child_that_lives_on_holds_no_core(worker_python: Path, tmp_path: Path) -> None:
    source = """
core = mine.take()
reading, writing = os.pipe()
if (pid := os.fork()) == 0:  # has the files of its parent open
    os.read(reading, 1)
    os._exit(0)
mine.give_back(core)
print(json.dumps(yours.take()))
os.write(writing, b".")
os.waitpid(pid, 0)
"""
    assert run(worker_python, source, tmp_path) == 0


def test_the_pool_uses_no_core_that_another_scan_uses(worker_python: Path, tmp_path: Path) -> None:
    source = f"""
other = Cores(2, Path({str(tmp_path)!r}))
core = other.take()
def work(task):
    Path({str(tmp_path)!r}, task).touch()
limits = dataclasses.replace(limits, seconds=20)
pool = ForkPool(work, Cores(2, Path({str(tmp_path)!r})), limits)
started = []
for event in pool.run(["first", "second", "third"]):
    started.append(len(pool.waiting))
    if event and event[0] == "first":
        other.give_back(core)
print(json.dumps(max(started)))
"""
    assert run_pool(worker_python, source) == 2  # one of three has started


def test_the_next_scan_begins_when_the_last_package_has_begun(
    shard: Shard, worker_python: Path, tmp_path: Path
) -> None:
    shard.add("left", {"left-1.0.tar.gz": sdist({"m.py": "import os\n"})})
    share, output = tmp_path / "share", tmp_path / "output"
    share.mkdir()
    start = command(
        worker_python, "scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output, share=share, jobs=1
    )
    with (share / ".lock").open("wb") as before, (share / "core-000").open("wb") as core:
        fcntl.flock(before, fcntl.LOCK_EX)
        fcntl.flock(core, fcntl.LOCK_EX)
        process = subprocess.Popen(start, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        while "waiting: another run works in" not in process.stderr.readline():
            assert process.poll() is None
        fcntl.flock(before, fcntl.LOCK_UN)
        while "0/1 done" not in process.stderr.readline():  # its turn, but the package before is on the core
            assert process.poll() is None
        fcntl.flock(core, fcntl.LOCK_UN)
        fcntl.flock(before, fcntl.LOCK_EX)  # ours as soon as its only package has begun
    with process:
        process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert len(statuses(output)) == 1
