"""``pypi_download_stats.gz``: how often each package was downloaded in 30 days, the most downloaded first.

The gzip of ``pypi_stats.json``: JSON lines ``{"package_name": "requests", "downloads": 123}``, canonical names, ties by
name. Aura stops reading at the first package below 10,000 downloads, so the order matters, and takes no blank line.
``pypi_download_stats.json`` beside it says where the counts come from: source, window (first and last day, null where
the source does not tell), the day they were fetched (UTC), and what they add up to.
"""

import logging
from datetime import date
from pathlib import Path
from typing import TypedDict

import msgspec

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.layout import DOWNLOAD_STATS, DOWNLOAD_STATS_ORIGIN, public_directory
from pypi_scan.datasets.made import file_digest, make_if_changed
from pypi_scan.download_stats.keep import open_kept
from pypi_scan.files import atomic_write

logger = logging.getLogger(__name__)

_STALE_DAYS = 8  # the newest window ends 2 days before it is fetched, and is 3 days older before the next is due


class _Counts(TypedDict):
    packages: int
    downloads: int


class DownloadStatsSummary(_Counts):
    """Counts of packages and of their downloads, where they come from, and how many days ago the last one was counted.

    Zero and None, and nothing published, where no statistics are kept yet.
    """

    source: str | None
    age_days: int | None


def write_download_stats(directory: Path, kept_file: Path, today: date) -> DownloadStatsSummary:
    """Write the dataset from what is kept in `kept_file`, and log how old that is `today`.

    Where nothing was kept yet, log a warning, and remove what an earlier run wrote: the checksums would vouch for it
    for ever. Raises DownloadStatsError for a damaged file.
    """
    target = public_directory(directory) / DOWNLOAD_STATS
    origin = public_directory(directory) / DOWNLOAD_STATS_ORIGIN
    with open_kept(kept_file) as opened:
        kept = opened[0] if opened else None
    if kept is None:
        logger.warning(
            "No download statistics were fetched yet, run the DAG download_stats: %s is not published and Aura scores "
            "no downloads",
            DOWNLOAD_STATS,
        )
        target.unlink(missing_ok=True)
        origin.unlink(missing_ok=True)
        return DownloadStatsSummary(packages=0, downloads=0, source=None, age_days=None)
    made_of = file_digest(kept_file)
    made = make_if_changed(
        directory, "download_stats", made_of, [target, origin], lambda: _write(kept_file, target, origin), _Counts
    )
    age = kept.age_days(today)
    logger.log(
        logging.WARNING if age > _STALE_DAYS else logging.INFO,
        "Download statistics from %s, fetched on %s, are %d days old",
        kept.source,
        kept.fetched,
        age,
    )
    return DownloadStatsSummary(**made, source=kept.source, age_days=age)


def _write(kept_file: Path, target: Path, origin: Path) -> _Counts:
    encoder = msgspec.json.Encoder()
    with open_kept(kept_file) as opened:
        if opened is None:
            raise FileNotFoundError(kept_file)
        kept, packages = opened
        with atomic_gzip(target) as file:
            for package in packages:
                file.write(encoder.encode(package) + b"\n")
    with atomic_write(origin) as described:
        described.write(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    return _Counts(packages=kept.packages, downloads=kept.downloads)
