"""How far a program is: a bar on a terminal, otherwise a log line every few seconds."""

import logging
import sys
import time

from tqdm import tqdm  # type: ignore[import-untyped]

_LOG_EVERY = 5.0  # seconds

log = logging.getLogger(__name__)


class Progress:
    """Counts finished items of `total`; `done` of them were finished by an earlier run and do not count as speed."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self._label = label
        self._total = total
        self._done = done
        self._failed = 0
        self._here = 0
        self._started = self._logged = time.monotonic()
        self._bar = tqdm(total=total, initial=done, desc=label, unit="") if sys.stderr.isatty() else None

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
        """Log a line if the last one is long enough ago; call it whenever there is time."""
        if self._bar is None and time.monotonic() - self._logged >= _LOG_EVERY:
            self._log()

    def close(self) -> None:
        """Log the last line, or leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._log()

    def _log(self) -> None:
        self._logged = time.monotonic()
        rate = self._here / max(self._logged - self._started, 1e-3)
        left = f"{(self._total - self._done) / rate / 60:.0f} min left" if rate else "time left unknown"
        log.info(
            "%s: %d/%d done, %d failed, %.1f/s, %s", self._label, self._done, self._total, self._failed, rate, left
        )
