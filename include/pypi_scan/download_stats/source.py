"""What every source of download statistics has in common: the window asked for, and what comes back."""

import logging
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Protocol

import msgspec

from pypi_scan.names import HostileInputError, canonical_name

logger = logging.getLogger(__name__)

WINDOW_DAYS = 30
_SETTLED_DAYS = 2  # yesterday's downloads may still be arriving where they are counted
_LEFT_OUT_LOGGED = 5  # names, one by one; the rest only as a count
_LEFT_OUT_SHARE = 0.01

# Ten times what all of PyPI is downloaded in a month: more is no count, and sums of it would not fit 64 bits.
type Downloads = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class DownloadStatsError(Exception):
    """Download statistics cannot be had or used; the message says from where, why, and what to do."""


class PackageDownloads(msgspec.Struct, frozen=True):
    """One line of ``pypi_stats.json``."""

    package_name: str
    downloads: Downloads


class Window(msgspec.Struct, frozen=True):
    """Days in UTC whose downloads are counted, `start` and `end` among them."""

    start: date
    end: date

    @property
    def dates(self) -> list[date]:
        """Every day of the window, in order."""
        return [self.start + timedelta(number) for number in range((self.end - self.start).days + 1)]


class Statistics(msgspec.Struct, frozen=True):
    """What a source gave: downloads by canonical name, and the window they are of if the source knows it."""

    downloads: dict[str, int]
    window: Window | None


class Source(Protocol):
    """Where download statistics come from."""

    @property
    def name(self) -> str:
        """What it is called in the settings, in messages and in what is published."""
        ...

    def fetch(self, window: Window) -> Statistics:
        """Return the statistics of `window`, or of what the source has nearest to it; raises DownloadStatsError."""
        ...


def latest_window(today: date) -> Window:
    """Return the newest window whose downloads are all counted by `today`."""
    end = today - timedelta(_SETTLED_DAYS)
    return Window(end - timedelta(WINDOW_DAYS - 1), end)


def total_by_name(rows: Iterable[tuple[str, int]], source: str) -> dict[str, int]:
    """Return the sums by canonical name of (name as the source writes it, downloads).

    The public logs hold requests for what was never a package: such names are left out, and the first ones logged.
    Raises DownloadStatsError where they are more than 1 % of the rows, which then are not what they should be.
    """
    totals: dict[str, int] = {}
    taken = left_out = 0
    example = ""
    for written, downloads in rows:
        try:
            name = canonical_name(written)
        except HostileInputError as error:
            left_out += 1
            example = str(error)
            if left_out <= _LEFT_OUT_LOGGED:
                logger.warning("%s: left out, %s", source, error)
            continue
        taken += 1
        totals[name] = totals.get(name, 0) + downloads
    rows_read = taken + left_out
    if left_out > rows_read * _LEFT_OUT_SHARE:
        raise DownloadStatsError(f"{source}: {left_out} of {rows_read} rows do not name a package, the last: {example}")
    if left_out:
        logger.warning("%s: left out %d of %d rows, which do not name a package", source, left_out, rows_read)
    return totals
