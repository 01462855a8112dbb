"""Fetch download statistics from the first source that gives plausible ones, and keep them."""

import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TypedDict

from pypi_scan.download_stats.keep import Kept, keep, read_kept
from pypi_scan.download_stats.source import WINDOW_DAYS, DownloadStatsError, Source, Statistics, latest_window

logger = logging.getLogger(__name__)

_MIN_SHARE = 0.5  # of the packages kept; from one window to the next they change by some per cent


class Refreshed(TypedDict):
    """What is kept now: days as ISO 8601 dates, None where the source does not know its window.

    `changed` says whether a count, the window or the source is another than before.
    """

    source: str
    window_start: str | None
    window_end: str | None
    packages: int
    downloads: int
    changed: bool


def refresh_download_stats(sources: Sequence[Source], kept_file: Path, today: date) -> Refreshed:
    """Ask `sources` in order for the newest window, and replace `kept_file` by the first plausible answer.

    Raises DownloadStatsError with the reason of each where none gave one; what was kept then stays.
    """
    before = read_kept(kept_file)
    refused = []
    for source in sources:
        try:
            statistics = source.fetch(latest_window(today))
            check_plausible(statistics, source.name, before, today)
        except DownloadStatsError as error:
            logger.warning("No download statistics from %s: %s", source.name, error)
            refused.append(str(error))
            continue
        kept, changed = keep(kept_file, statistics, source.name, today)
        logger.info("Download statistics of %d packages from %s, %s", kept.packages, kept.source, kept.window)
        return Refreshed(
            source=kept.source,
            window_start=str(kept.window.start) if kept.window else None,
            window_end=str(kept.window.end) if kept.window else None,
            packages=kept.packages,
            downloads=kept.downloads,
            changed=changed,
        )
    stays = f"what {before.source} gave is kept, {before.age_days(today)} days old" if before else "none are kept"
    raise DownloadStatsError(f"no source gave download statistics, {stays}: {'; '.join(refused)}")


def check_plausible(statistics: Statistics, source: str, before: Kept | None, today: date) -> None:
    """Raise DownloadStatsError for statistics that are empty or worse than what was kept `before`.

    Worse is less than half of the packages, or an older window. Statistics older than the 30 days that they count are
    no measure any more: after a month without a good source a short list is better, and a lasting change is taken.
    """
    if not any(statistics.downloads.values()):
        raise DownloadStatsError(f"{source}: no package was downloaded at all, which cannot be")
    if before is None or before.age_days(today) > WINDOW_DAYS:
        return
    if len(statistics.downloads) < before.packages * _MIN_SHARE:
        raise DownloadStatsError(
            f"{source}: {len(statistics.downloads)} packages, less than half of the {before.packages} that are kept "
            f"from {before.source}; to take them all the same, remove what is kept"
        )
    if statistics.window and before.window and statistics.window.end < before.window.end:
        raise DownloadStatsError(
            f"{source}: ends with {statistics.window.end}, before what is kept from {before.source}, which ends with "
            f"{before.window.end}"
        )
