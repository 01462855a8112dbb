"""Servers of the demo: they end with what they started, and are told apart from ones that never came up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo import processes
from demo.processes import DemoError, accepts_connections, free_port, running, wait_until


def alive(pid: int) -> bool:
    """Whether the process runs. One that has ended may still wait to be reaped by whoever adopted it."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def start(script: str, directory: Path):
    command = ["bash", "-c", script]
    return running("server", command, env=os.environ, logs=directory / "logs", cwd=directory)


@pytest.mark.parametrize(
    "script",
    [
        "(trap '' TERM; echo $BASHPID > child; while :; do sleep 0.1; done) & wait",
        "trap '' TERM; sleep 1000 & echo $! > child; while :; do sleep 0.1; done",
        "sleep 1000 & echo $! > child; exit 0",
    ],
    ids=["a child ignores SIGTERM", "the server ignores SIGTERM", "the server has ended before its child"],
)
def test_a_server_ends_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.3)
    child = tmp_path / "child"
    with start(script, tmp_path) as process:
        wait_for(lambda: child.exists() and child.read_text().endswith("\n"))
        pid = int(child.read_text())
        assert alive(pid)
    assert process.returncode is not None
    wait_for(lambda: not alive(pid))


def test_a_server_is_asked_first(tmp_path: Path) -> None:
    script = "trap 'echo asked; exit 0' TERM; touch ready; while :; do sleep 0.05; done"
    with start(script, tmp_path):
        wait_for((tmp_path / "ready").exists)
    assert "asked" in (tmp_path / "logs" / "server.log").read_text().splitlines()


def test_a_server_ends_when_the_demo_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the demo fails"), start("sleep 1000", tmp_path) as process:
        raise RuntimeError("the demo fails")
    assert process.returncode is not None


def test_waiting_for_a_server_that_ends(tmp_path: Path) -> None:
    with (
        start("exit 3", tmp_path) as process,
        pytest.raises(DemoError, match="the server ended with exit code 3 before it was ready; see its log"),
    ):
        wait_until(lambda: False, "the server", 10, process)


def test_waiting_for_a_server_that_takes_too_long(tmp_path: Path) -> None:
    with (
        start("sleep 1000", tmp_path) as process,
        pytest.raises(DemoError, match="the server was not ready after 0 seconds; see its log"),
    ):
        wait_until(lambda: False, "the server", 0.2, process)


def test_ports(tmp_path: Path) -> None:
    port = free_port()
    assert not accepts_connections(port)
    command = [sys.executable, "-m", "http.server", "--bind=127.0.0.1", str(port)]
    with running("http", command, env=os.environ, logs=tmp_path, cwd=tmp_path) as process:
        wait_until(lambda: accepts_connections(port), "the HTTP server", 10, process)
    assert not accepts_connections(port)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(DemoError, match="/nowhere/server is not there"),
        running("server", ["/nowhere/server"], env={}, logs=tmp_path, cwd=tmp_path),
    ):
        raise AssertionError("it does not run")


def test_nothing_of_the_group_is_left_to_reap(tmp_path: Path) -> None:
    with start("sleep 1000", tmp_path) as process:
        pass
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    assert isinstance(process, subprocess.Popen)
