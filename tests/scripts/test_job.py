"""A job on a worker, asked as the control host asks it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

JOB = Path(__file__).resolve().parents[2] / "include" / "scripts" / "job.py"


class Jobs:
    """Jobs below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def ask(self, command: str, *options: str, job: str = "0001", stdin: str = "") -> subprocess.CompletedProcess[str]:
        directory = self.directory / job if job else self.directory
        line = [sys.executable, "-ES", str(JOB), command, str(directory), *options]
        return subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=60)

    def start(self, *shell: str, owner: str = "me", seconds: float = 60, job: str = "0001") -> dict[str, Any]:
        order = {"programs": [{"command": ["sh", "-c", line], "seconds": seconds} for line in shell]}
        done = self.ask("start", f"--owner={owner}", job=job, stdin=json.dumps(order))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def look(self, *options: str, owner: str = "me") -> dict[str, Any]:
        return json.loads(self.ask("look", f"--owner={owner}", *options).stdout)

    def ended(self) -> dict[str, Any]:
        wait_for(lambda: self.look()["how"] != "running")
        return self.look()

    def supervisors(self) -> list[int]:
        """Return the processes that run programs of jobs."""
        return processes_with(f"supervise\0{self.directory}")


def processes_with(text: str) -> list[int]:
    found = subprocess.run(["pgrep", "-a", "."], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if text.replace("\0", " ") in line]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "jobs")
    yield made
    made.ask("end-all", job="")


def test_programs_run_one_after_the_other_and_the_first_that_fails_is_the_last(jobs: Jobs) -> None:
    jobs.start("echo one", "echo 'error: it is full' >&2; exit 73", "echo three")
    status = jobs.ended()
    assert (status["how"], status["exit_code"], status["message"]) == ("out_of_room", 73, "it is full")
    assert status["log"] == "one\nerror: it is full\n"


def test_a_job_outlives_whoever_started_it_and_a_second_start_joins_it(jobs: Jobs, tmp_path: Path) -> None:
    shell = f"echo x >>{tmp_path}/started; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    assert jobs.start(shell)["how"] == "running"
    assert jobs.start(shell, owner="another")["how"] == "running"
    assert jobs.look()["how"] == "taken_over"
    (tmp_path / "go").touch()
    wait_for(lambda: jobs.look(owner="another")["how"] == "done")
    assert jobs.start(shell, owner="third")["how"] == "done", "what ended well meanwhile is not done again"
    assert (tmp_path / "started").read_text() == "x\n"


def test_another_order_ends_what_runs(jobs: Jobs) -> None:
    jobs.start("sleep 1000")
    jobs.start("echo other")
    assert jobs.ended()["log"] == "other\n"
    assert not processes_with("sleep 1000")


def test_a_job_is_ended_by_its_owner_or_by_who_ends_all(jobs: Jobs) -> None:
    jobs.start("sleep 1001")
    jobs.ask("end", "--owner=somebody")
    assert jobs.look()["how"] == "running"
    jobs.ask("end", "--owner=me")
    assert jobs.ended()["how"] == "ended"
    for job in ("0002", "0003"):
        jobs.start("sleep 1001", job=job)
    jobs.ask("end-all", job="")
    assert not jobs.supervisors()
    assert not processes_with("sleep 1001")


def test_a_program_that_takes_too_long_is_ended(jobs: Jobs) -> None:
    jobs.start("sleep 1002", seconds=0.2)
    status = jobs.ended()
    assert (status["how"], status["message"]) == ("timed_out", "not done after its limit of 0.2 seconds")
    wait_for(lambda: not processes_with("sleep 1002"))


def test_what_is_killed_is_lost_and_leaves_nothing_running(jobs: Jobs) -> None:
    jobs.start("sleep 1003")
    (supervisor,) = jobs.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    assert jobs.ended()["how"] == "lost"
    wait_for(lambda: not processes_with("sleep 1003"))
    jobs.start("sleep 1003")
    wait_for(lambda: processes_with("sleep 1003"))
    os.kill(processes_with("sleep 1003")[-1], signal.SIGKILL)
    assert (jobs.ended()["how"], jobs.ended()["exit_code"]) in {("killed", -9), ("failed", 137)}


def test_another_process_with_the_number_of_a_lost_job_is_left_alone(jobs: Jobs) -> None:
    jobs.start("sleep 1004")
    os.killpg(jobs.supervisors()[0], signal.SIGKILL)
    state = jobs.directory / "0001" / "state"
    with subprocess.Popen(["sleep", "1005"], start_new_session=True) as stranger:
        told = {**json.loads(state.read_text()), "pid": stranger.pid}
        state.write_text(json.dumps(told).ljust(state.stat().st_size))
        assert jobs.ended()["how"] == "lost"
        jobs.ask("end-all", job="")
        assert stranger.poll() is None
        stranger.kill()


def test_each_byte_of_the_log_is_told_once_also_to_who_joins_later(jobs: Jobs) -> None:
    jobs.start("i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done")
    jobs.ended()
    first = jobs.look()
    jobs.look(f"--position={first['position']}")  # by who has got the first part, and dies with the second one
    told = first["log"]
    for _ in range(8):
        status = jobs.look()
        told += status["log"]
        jobs.look(f"--position={status['position']}")
    assert told == "".join(f"{number}\n" for number in range(30000))


def test_progress_is_what_the_program_says(jobs: Jobs) -> None:
    jobs.start(f"echo '{{\"done\": 1}}' > {jobs.directory}/0001/progress.json")
    assert jobs.ended()["progress"] == {"done": 1}


def test_a_program_that_is_not_there(jobs: Jobs) -> None:
    order = {"programs": [{"command": ["/no/such"], "seconds": 1}]}
    jobs.ask("start", "--owner=me", stdin=json.dumps(order))
    assert jobs.ended()["message"] == "/no/such cannot be started: No such file or directory"


def test_a_job_that_cannot_be_written_says_that_there_is_no_room(jobs: Jobs) -> None:
    jobs.directory.mkdir()
    (jobs.directory / "0001").mkdir()
    (jobs.directory / "0001" / "order.json").symlink_to("/dev/full")
    done = jobs.ask("start", "--owner=me", stdin='{"programs": []}')
    assert done.returncode == 73
    assert "No space left" in done.stderr
