"""A scan that is killed, at whatever moment, and started again loses nothing and does nothing twice."""

import fcntl
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .conftest import Shard, command, sdist
from .test_scan_shard import processes_in, rows, statuses

KILLS = 20
PACKAGES, KNOWN = 12, 4


def names_in(output: Path) -> set[str]:
    """Return everything that lies in the output directory."""
    return {str(path.relative_to(output)) for path in output.rglob("*")}


def journal(output: Path) -> list[dict[str, Any]]:
    """Return the entries of the journal: what is finished. A line counts once its end is there."""
    path = output / ".work" / "journal.jsonl"
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def has(output: Path, entries: int) -> bool:
    """Return whether so many packages are finished."""
    return len(journal(output)) >= entries


def wait(process: subprocess.Popen[bytes], reached: Callable[[], bool], seconds: float) -> None:
    """Return when something is reached, the process has ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not reached():
        time.sleep(0.001)


def test_killed_at_any_moment(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    for number in range(PACKAGES):
        source = f"import os\nos.system('{number}')\n" + "f(a).b(c)\n" * 100
        shard.add(f"p{number:02d}", {f"p{number:02d}-1.0.tar.gz": sdist({"m.py": source})})
    shard.add("none", {})
    for number in range(KNOWN):
        shard.add(f"q{number}", {f"q{number}-1.0.tar.gz": sdist({"m.py": ""})})["known"] = True

    def start(output: Path) -> subprocess.Popen[bytes]:
        options = {"shard": shard.write(), "cache": shard.web.parent, "output": output, "jobs": 2}
        return subprocess.Popen(command(worker_python, "scan_shard.py", **options), stderr=subprocess.DEVNULL)

    undisturbed = tmp_path / "undisturbed"
    began = time.monotonic()
    with start(undisturbed) as process:
        assert process.wait(timeout=60) == 0
    duration = time.monotonic() - began

    moments = random.Random(8)
    kills = interrupted = 0
    output = tmp_path / "output"
    done: list[dict[str, Any]] = []  # what the runs so far have finished
    while True:
        last = kills == KILLS
        with start(output) as process:
            if last:
                process.wait(timeout=60)
            elif kills % 4 == 0:  # at any moment, which is mostly while Aura is loaded
                wait(process, lambda: False, seconds=moments.uniform(0, duration))
            else:  # at any moment of the scan itself
                wait(process, partial(has, output, len(done) + moments.randint(0, 3)), seconds=60)
                wait(process, lambda: False, seconds=moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        killed = process.returncode == -signal.SIGKILL
        assert killed or process.returncode == 0
        deadline = time.monotonic() + 10
        while processes_in(output):  # killed with their parent, by the kernel
            assert time.monotonic() < deadline
            time.sleep(0.001)
        entries = journal(output)
        assert entries[: len(done)] == done  # scanned before, and not again
        done = entries
        if killed:
            kills += 1
            interrupted += 0 < len(done) < len(shard.packages)
            if (output / ".work" / "journal.jsonl").exists():
                with (output / ".work" / "journal.jsonl").open("ab") as file:
                    file.write(b'{"torn":')  # as a crash of the machine leaves a line
            continue
        for file in ("records.jsonl.zst", "known.jsonl"):
            assert (output / file).read_bytes() == (undisturbed / file).read_bytes(), file
        assert statuses(output).keys() == statuses(undisturbed).keys()
        assert [json.loads(line) for line in (output / "status.jsonl").read_text().splitlines()] == sorted(
            (entry["status"] for entry in done if "status" in entry), key=lambda status: status["name"]
        )
        assert sorted(row[-1] for row in rows(output)) == [f"scan p{number:02d}" for number in range(PACKAGES)]
        assert (output / "known.jsonl").read_text().count("\n") == KNOWN
        assert names_in(output) == names_in(undisturbed)
        if last:
            break
        shutil.rmtree(output)
        done = []
    assert interrupted >= 5


def test_one_scan_at_a_time_on_a_worker(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    shard.add("left", {"left-1.0.tar.gz": sdist({"m.py": "import os\n"})})
    turn, output = tmp_path / "turn", tmp_path / "output"
    turn.mkdir()
    start = command(
        worker_python, "scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output, turn=turn
    )
    with (turn / ".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        process = subprocess.Popen(start, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting: another run works in" in process.stderr.readline()
        assert not journal(output)
    with process:
        process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert len(statuses(output)) == 1
