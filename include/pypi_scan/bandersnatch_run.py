"""Runs bandersnatch as a subprocess, watched, and cleans up after it."""

import glob
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pypi_scan.bandersnatch_log import BandersnatchLog
from pypi_scan.sync_errors import SyncError
from pypi_scan.sync_lock import SyncLock

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
_PROGRESS_SECONDS = 10.0

type Check = Callable[[], None]
"""Raises SyncError when a run must not go on."""


def run_bandersnatch(
    config_file: Path, lock: SyncLock, check: Check, web: Path, command: Iterable[str] = ("mirror",)
) -> BandersnatchLog:
    """Run a command of bandersnatch to its end, log progress, and return what its log told.

    Raises SyncError if it died, or was ended since `check` said so; its ``todo`` then says what is left. The child
    inherits the lock: if this process is killed, nothing else on this host writes beside it. Temporary files of
    downloads below `web` that failed or were interrupted are removed, as bandersnatch leaves them.
    """
    told = BandersnatchLog()
    process = subprocess.Popen(
        [sys.executable, "-m", "bandersnatch", "--config", str(config_file), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock.file.fileno(),),
    )
    assert process.stdout
    with _Watch(process, check) as watch:
        last_report = time.monotonic()
        for line in process.stdout:
            told.feed(line)
            if time.monotonic() - last_report >= _PROGRESS_SECONDS:
                last_report = time.monotonic()
                log.info("syncing: %d of %d packages, %d failed", told.fetched, told.to_sync, len(told.packages))
        exit_code = process.wait()
    remove_unfinished(web, {*told.files, *(told.begun if exit_code else ())})
    if watch.stopped:
        raise watch.stopped
    if exit_code:
        raise SyncError(
            f"bandersnatch ended with exit code {exit_code}: {told.last_words()}. "
            "The mirror keeps its serial; the next sync takes up what is left."
        )
    log.info("bandersnatch went through %d packages", told.fetched)
    return told


class _Watch:
    """Ends the process when the check fails, and when the block ends; `stopped` is what the check raised."""

    def __init__(self, process: "subprocess.Popen[str]", check: Check) -> None:
        self.stopped: SyncError | None = None
        self._process = process
        self._check = check
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            try:
                self._check()
            except SyncError as error:
                self.stopped = error
                self._process.terminate()
                return


def remove_unfinished(web: Path, paths: Iterable[str]) -> None:
    """Remove what downloads of files below `web` wrote beside them, under other names, before they failed."""
    for path in paths:
        file = web / path
        for unfinished in file.parent.glob(f".{glob.escape(file.name)}.*"):
            unfinished.unlink(missing_ok=True)
