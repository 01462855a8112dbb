"""The last good download statistics: one file, so that the counts and where they came from change together.

Its first line is a `Kept`, every other one a `PackageDownloads` as in ``pypi_stats.json``: canonical names, the most
downloaded first, ties by name.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO

import msgspec

from pypi_scan.download_stats.source import DownloadStatsError, PackageDownloads, Statistics, Window
from pypi_scan.files import atomic_write


class Kept(msgspec.Struct, frozen=True):
    """Where the kept statistics came from, on which day (UTC), and what they add up to.

    `window` is None where the source does not say what was counted.
    """

    source: str
    window: Window | None
    fetched: date
    packages: int
    downloads: int

    def age_days(self, today: date) -> int:
        """Return the days since the last one counted, or since the statistics were fetched where that is not known."""
        return (today - (self.window.end if self.window else self.fetched)).days


def keep(path: Path, statistics: Statistics, source: str, fetched: date) -> tuple[Kept, bool]:
    """Replace the statistics kept in `path`.

    Return what is kept now, and whether anything but the day it was fetched on is new.
    """
    kept = Kept(source, statistics.window, fetched, len(statistics.downloads), sum(statistics.downloads.values()))
    encoder = msgspec.json.Encoder()
    counts = b"".join(encoder.encode(package) + b"\n" for package in _most_downloaded(statistics.downloads))
    changed = not _holds(path, kept, counts)
    with atomic_write(path) as file:
        file.write(encoder.encode(kept) + b"\n" + counts)
    return kept, changed


def read_kept(path: Path) -> Kept | None:
    """Return what is kept in `path`, None if nothing was kept yet; raises DownloadStatsError."""
    with open_kept(path) as opened:
        return opened[0] if opened else None


@contextmanager
def open_kept(path: Path) -> Iterator[tuple[Kept, Iterator[PackageDownloads]] | None]:
    """Open `path` and give what is kept and its packages, None if nothing was kept yet.

    What was opened stays as it is when it is replaced meanwhile. Raises DownloadStatsError, also while the packages are
    read, for a file that `keep` did not write so.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            kept = msgspec.json.decode(file.readline(), type=Kept)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _damaged(path, 1, str(error)) from error
        yield kept, _packages(file, path, kept.packages)


def _packages(file: BinaryIO, path: Path, expected: int) -> Iterator[PackageDownloads]:
    decoder = msgspec.json.Decoder(PackageDownloads)
    number = 1
    for number, line in enumerate(file, start=2):
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _damaged(path, number, str(error)) from error
    if number - 1 != expected:
        raise _damaged(path, number, f"{number - 1} packages where there should be {expected}")


def _damaged(path: Path, line: int, why: str) -> DownloadStatsError:
    return DownloadStatsError(
        f"the kept download statistics are damaged: {path}, line {line}: {why}; remove the file and run download_stats"
    )


def _most_downloaded(downloads: Mapping[str, int]) -> Iterator[PackageDownloads]:
    for name, count in sorted(downloads.items(), key=lambda item: (-item[1], item[0])):
        yield PackageDownloads(name, count)


def _holds(path: Path, kept: Kept, counts: bytes) -> bool:
    before = read_kept(path)
    if before is None or (before.source, before.window) != (kept.source, kept.window):
        return False
    with path.open("rb") as file:
        file.readline()
        return file.read() == counts
