"""How far a program is: a bar on a terminal, else a log line every few seconds; and a file for whoever follows it."""

import argparse
import contextlib
import json
import logging
import sys
import time
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]

_TELL_EVERY = 5.0  # seconds

log = logging.getLogger(__name__)


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file of a `Progress`."""
    parser.add_argument(
        "--progress",
        type=Path,
        metavar="FILE",
        help='where to say every few seconds how far it is: {"label", "done", "failed", "total", "rate"}',
    )


class Progress:
    """Counts finished items of `total`; `done` of them were finished by an earlier run and do not count as speed.

    `file` holds the counts and the items a second, null before the first.
    """

    def __init__(self, label: str, total: int, done: int = 0, file: Path | None = None) -> None:
        self._label = label
        self._total = total
        self._file = file
        self._done = done
        self._failed = 0
        self._here = 0
        self._started = self._told = time.monotonic()
        self._bar = tqdm(total=total, initial=done, desc=label, unit="") if sys.stderr.isatty() else None
        self._write(None)

    def advance(self, *, failed: bool) -> None:
        """Count one more item."""
        self._done += 1
        self._here += 1
        self._failed += failed
        if self._bar is not None:
            self._bar.set_postfix(failed=self._failed, refresh=False)
            self._bar.update()
        self.tick()

    def tick(self) -> None:
        """Tell how far it is if that was long enough ago; call it whenever there is time."""
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._tell()

    def close(self) -> None:
        """Tell how far it came, and leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        rate = self._here / max(self._told - self._started, 1e-3)
        self._write(rate or None)
        if self._bar is not None:
            return
        left = f"{(self._total - self._done) / rate / 60:.0f} min left" if rate else "time left unknown"
        log.info(
            "%s: %d/%d done, %d failed, %.1f/s, %s", self._label, self._done, self._total, self._failed, rate, left
        )

    def _write(self, rate: float | None) -> None:
        if self._file is None:
            return
        told = {"label": self._label, "done": self._done, "failed": self._failed, "total": self._total, "rate": rate}
        with contextlib.suppress(OSError):  # what it is told of goes on without it
            self._file.write_text(json.dumps(told), encoding="ascii")
