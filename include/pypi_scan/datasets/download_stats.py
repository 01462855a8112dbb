"""``pypi_download_stats.gz``: how often each package was downloaded in 30 days, the most downloaded first.

The gzip of ``pypi_stats.json``: JSON lines ``{"package_name": "requests", "downloads": 123}``, canonical names, ties by
name. Aura stops reading at the first package below 10,000 downloads, so the order matters, and takes no blank line.

Two formats are read: JSON lines of the same shape (what a query of the public download statistics gives), and the JSON
document of top-pypi-packages, ``{"rows": [{"project": "requests", "download_count": 123}, ...]}``.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypedDict

import msgspec

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.layout import DOWNLOAD_STATS, public_directory
from pypi_scan.datasets.made import file_digest, make_if_changed
from pypi_scan.names import HostileInputError, canonical_name

logger = logging.getLogger(__name__)

type Downloads = Annotated[int, msgspec.Meta(ge=0)]


class DownloadStatsError(Exception):
    """The file of download statistics cannot be used; the message names the file and the line or row."""


class PackageDownloads(msgspec.Struct, frozen=True):
    """One line of ``pypi_stats.json``."""

    package_name: str
    downloads: Downloads


class TopPackagesRow(msgspec.Struct, frozen=True):
    """One row of a top-pypi-packages document."""

    project: str
    download_count: Downloads


class TopPackages(msgspec.Struct, frozen=True):
    """A top-pypi-packages document; its rows are decoded one by one, so that an error can say which."""

    rows: list[msgspec.Raw]


class DownloadStatsSummary(TypedDict):
    """Counts of packages and of their downloads; zero, and nothing published, where no statistics are configured."""

    packages: int
    downloads: int


def write_download_stats(directory: Path, stats_file: Path | None) -> DownloadStatsSummary:
    """Write the dataset from `stats_file`; without one, log a warning, and remove what an earlier run wrote.

    Old statistics are removed rather than kept: the checksums would vouch for them for ever. Raises DownloadStatsError
    for a file that is missing, empty or has a bad line.
    """
    target = public_directory(directory) / DOWNLOAD_STATS
    if stats_file is None:
        logger.warning(
            "PYPI_SCAN_DOWNLOAD_STATS_FILE is not set: %s is not published and Aura scores no downloads", DOWNLOAD_STATS
        )
        target.unlink(missing_ok=True)
        return DownloadStatsSummary(packages=0, downloads=0)
    try:
        made_of = file_digest(stats_file)
    except OSError as error:
        raise DownloadStatsError(f"the download statistics cannot be read: {error}") from error
    return make_if_changed(
        directory, "download_stats", made_of, [target], lambda: _write(target, stats_file), DownloadStatsSummary
    )


def _write(target: Path, stats_file: Path) -> DownloadStatsSummary:
    ranking = most_downloaded(read_download_stats(stats_file))
    if not ranking:
        raise DownloadStatsError(f"{stats_file} is empty; export the statistics again or unset the setting")
    encoder = msgspec.json.Encoder()
    with atomic_gzip(target) as file:
        for package in ranking:
            file.write(encoder.encode(package) + b"\n")
    return DownloadStatsSummary(packages=len(ranking), downloads=sum(package.downloads for package in ranking))


def most_downloaded(packages: Iterable[PackageDownloads]) -> list[PackageDownloads]:
    """Return one entry a package, the most downloaded first, ties by name; counts of the same name are summed."""
    totals: Counter[str] = Counter()
    for package in packages:
        totals[package.package_name] += package.downloads
    ranking = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return [PackageDownloads(name, downloads) for name, downloads in ranking]


def read_download_stats(stats_file: Path) -> Iterator[PackageDownloads]:
    """Yield what either format holds, with canonical names; blank lines are skipped. Raises DownloadStatsError."""
    try:
        content = stats_file.read_bytes()
    except OSError as error:
        raise DownloadStatsError(f"the download statistics cannot be read: {error}") from error
    try:
        document = msgspec.json.decode(content, type=TopPackages)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        yield from _read_lines(stats_file, content)
    else:
        yield from _read_rows(stats_file, document)


def _read_lines(stats_file: Path, content: bytes) -> Iterator[PackageDownloads]:
    # Not strict: databases write 64-bit counts as strings, since JavaScript would round them as numbers.
    decoder = msgspec.json.Decoder(PackageDownloads, strict=False)
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = decoder.decode(line)
            yield PackageDownloads(canonical_name(entry.package_name), entry.downloads)
        except (msgspec.MsgspecError, UnicodeDecodeError, HostileInputError) as error:
            raise DownloadStatsError(
                f'{stats_file}, line {number}: {error}; expected JSON lines {{"package_name": ..., "downloads": ...}} '
                "or a top-pypi-packages document"
            ) from error


def _read_rows(stats_file: Path, document: TopPackages) -> Iterator[PackageDownloads]:
    decoder = msgspec.json.Decoder(TopPackagesRow)
    for number, raw in enumerate(document.rows, start=1):
        try:
            row = decoder.decode(raw)
            yield PackageDownloads(canonical_name(row.project), row.download_count)
        except (msgspec.MsgspecError, UnicodeDecodeError, HostileInputError) as error:
            raise DownloadStatsError(
                f'{stats_file}, row {number}: {error}; expected {{"project": ..., "download_count": ...}}'
            ) from error
