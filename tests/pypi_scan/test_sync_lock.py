"""Who may write to a mirror: processes of one host, of several hosts, and those that died."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from pypi_scan import sync_lock as module
from pypi_scan.sync_errors import SyncError, SyncRunningError
from pypi_scan.sync_lock import STALE_SECONDS, Holder, sync_lock

ELSEWHERE = Holder("pypi_sync", "other-host", "other-boot", 7)


def left_behind(root: Path, holder: Holder, seconds_ago: float) -> Path:
    """A lock that nobody on this host holds, last touched so long ago."""
    path = root / ".sync-lock"
    path.write_bytes(msgspec.json.encode(holder))
    touched = path.stat().st_mtime - seconds_ago
    os.utime(path, (touched, touched))
    return path


def test_a_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with sync_lock(tmp_path, "pypi_sync") as lock:
            lock.check()


def test_a_process_that_was_killed_does_not_hold_its_lock(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = (
        "import sys, pathlib; from pypi_scan.sync_lock import sync_lock\n"
        "with sync_lock(pathlib.Path(sys.argv[1]), 'pypi_sync'): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SyncRunningError, match=rf"pypi_sync \(process {other.pid} on "), sync_lock(tmp_path, "x"):
            pass
        other.kill()
    with sync_lock(tmp_path, "pypi_sync"):
        assert f"process {other.pid}" in caplog.text


def test_another_host_is_believed_to_live_for_ten_minutes(tmp_path: Path) -> None:
    left_behind(tmp_path, ELSEWHERE, STALE_SECONDS - 60)
    with (
        pytest.raises(SyncRunningError, match=r"process 7 on other-host.* sign of life 5[34]\d seconds ago"),
        sync_lock(tmp_path, "x"),
    ):
        pass
    left_behind(tmp_path, ELSEWHERE, STALE_SECONDS + 60)
    with sync_lock(tmp_path, "pypi_sync") as lock:
        lock.check()


def test_who_lost_the_lock_to_another_host_finds_out(tmp_path: Path) -> None:
    with sync_lock(tmp_path, "pypi_sync") as lock:
        path = left_behind(tmp_path, ELSEWHERE, 0)
        with pytest.raises(SyncError, match=r"taken over by pypi_sync .* on other-host"):
            lock.check()
    assert msgspec.json.decode(path.read_bytes(), type=Holder) == ELSEWHERE


def test_a_holder_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = threading.Event()
    monkeypatch.setattr(module, "TOUCH_SECONDS", 0.01)
    monkeypatch.setattr(module.SyncLock, "touch", lambda lock: touched.set())
    with sync_lock(tmp_path, "pypi_sync"):
        assert touched.wait(30)


def test_a_sync_waits_for_a_repair_and_for_nothing_else(tmp_path: Path) -> None:
    held, give_back = threading.Event(), threading.Event()

    def repair() -> None:
        with sync_lock(tmp_path, "mirror_verify"):
            held.set()
            give_back.wait(30)

    repairing = threading.Thread(target=repair)
    repairing.start()
    assert held.wait(30)
    with pytest.raises(SyncRunningError), sync_lock(tmp_path, "x", wait_for="pypi_sync", wait_seconds=30):
        pass
    threading.Timer(0.1, give_back.set).start()
    with sync_lock(tmp_path, "pypi_sync", wait_for="mirror_verify", wait_seconds=30):
        assert give_back.is_set()
    repairing.join()
