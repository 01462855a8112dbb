"""What the checks after a fault look for, they find."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from pypi_scan.files import atomic_write

from .aftermath import held_locks, is_temporary
from .services import SERVICE, Services, descends_from, is_alive, processes


def test_a_lock_is_found_while_it_is_held(tmp_path: Path) -> None:
    with (tmp_path / ".fleet.json.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert held_locks(tmp_path) == [tmp_path / ".fleet.json.lock"]
    assert held_locks(tmp_path) == []


def test_a_file_that_is_written_is_temporary_until_it_is_whole(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "fleet.json"):
        assert [is_temporary(path) for path in tmp_path.iterdir()] == [True]
    assert [is_temporary(path) for path in tmp_path.iterdir()] == [False]


@pytest.mark.parametrize("name", ["a.whl.part", "incoming/0001"])
def test_what_is_fetched_is_temporary(name: str) -> None:
    assert is_temporary(Path("scans") / name)


@pytest.mark.parametrize("name", [".fleet.json.lock", "mirror/.sync-ended", "dataset.zst"])
def test_what_is_kept_is_not(name: str) -> None:
    assert not is_temporary(Path(name))


def test_a_service_that_is_killed_comes_back_without_what_it_had_started(tmp_path: Path) -> None:
    services = Services(str(tmp_path))
    script = "setsid sleep 1000 & echo $! >child; wait"
    directories = {"env": os.environ, "logs": tmp_path, "cwd": tmp_path}
    with services.start("server", ["bash", "-c", script], **directories) as service:
        child = _wait_for(lambda: _number(tmp_path / "child"))
        assert descends_from(child, os.getpid())
        service.kill()
        _wait_for(lambda: service.starts == 2)
        assert not is_alive(child)
    _wait_for(lambda: not processes({SERVICE: f"{tmp_path}:server"}) or None)


def _number(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else 0


def _wait_for(condition):
    for _ in range(1000):
        if found := condition():
            return found
        subprocess.run(["sleep", "0.02"], check=True)
    raise AssertionError("it did not happen in time")
