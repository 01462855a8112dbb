"""BigQuery's public log of PyPI's downloads, ``bigquery-public-data.pypi.file_downloads``, a row a download.

A query is billed by the bytes of the days it scans, about 40 GiB each. So each day is scanned once: its counts are
kept as a file, and a window is the sum of its days' files.
"""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery import Client, QueryJob, QueryJobConfig, ScalarQueryParameter
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.oauth2.service_account import Credentials

from pypi_scan.download_stats.source import (
    DownloadStatsError,
    PackageDownloads,
    Statistics,
    Window,
    total_by_name,
)
from pypi_scan.files import atomic_write

logger = logging.getLogger(__name__)

# Bounds of the partitioning column as parameters: then only the partition of that day is read, and billed.
_DAY = """
SELECT project, COUNT(*) AS downloads
FROM `bigquery-public-data.pypi.file_downloads`
WHERE timestamp >= @start AND timestamp < @end
GROUP BY project
"""
_SUFFIX = ".jsonl.zst"
_REQUEST_SECONDS = 60.0
_QUERY_SECONDS = 600.0
_RETRY = DEFAULT_RETRY.with_timeout(60.0)
_GIB = 2**30


class BigQuery:
    """The public table, queried by the client that `connect` makes; days are kept in `directory`.

    One `fetch` is billed at most `max_bytes`, else it does not begin.
    """

    name = "bigquery"

    def __init__(self, connect: Callable[[], Client], directory: Path, max_bytes: int) -> None:
        self._connect = connect
        self._directory = directory
        self._max_bytes = max_bytes

    def fetch(self, window: Window) -> Statistics:
        """Return the sums of exactly `window`; days outside it are forgotten. Raises DownloadStatsError."""
        missing = [day for day in window.dates if not self._file(day).exists()]
        if missing:
            try:
                self._add(missing)
            except (GoogleAPIError, GoogleAuthError, OSError) as error:  # OSError: those of requests among them
                raise DownloadStatsError(f"{self.name}: {error}; the days that were fetched are kept") from error
        totals = total_by_name(((day.package_name, day.downloads) for day in self._read(window.dates)), self.name)
        self._forget(window)
        return Statistics(totals, window)

    def _add(self, days: list[date]) -> None:
        with self._connect() as client:
            self._check_cost(client, days)
            left = self._max_bytes
            for day in days:
                job = _query(client, day, maximum_bytes_billed=left)
                rows = job.result(timeout=_QUERY_SECONDS, retry=_RETRY)
                counts = total_by_name(((str(row[0]), int(row[1])) for row in rows), self.name)
                if not counts:
                    raise DownloadStatsError(f"{self.name}: no downloads on {day}: the table is not kept up to date")
                self._write(day, counts)
                left -= job.total_bytes_billed or 0
                logger.info("%s: %d packages on %s", self.name, len(counts), day)

    def _check_cost(self, client: Client, days: list[date]) -> None:
        estimated = sum(_query(client, day, dry_run=True).total_bytes_processed for day in days)
        if estimated > self._max_bytes:
            raise DownloadStatsError(
                f"{self.name}: {len(days)} days that are not kept yet, {days[0]} to {days[-1]}, would be billed as "
                f"{estimated / _GIB:.1f} GiB, and the bound is {self._max_bytes / _GIB:.1f} GiB; nothing was billed. "
                "Raise PYPI_SCAN_BIGQUERY_MAX_GIB if that is meant to be paid: each day is paid for once"
            )

    def _file(self, day: date) -> Path:
        return self._directory / f"{day}{_SUFFIX}"

    def _write(self, day: date, counts: dict[str, int]) -> None:
        encoder = msgspec.json.Encoder()
        lines = b"".join(encoder.encode(PackageDownloads(*count)) + b"\n" for count in sorted(counts.items()))
        with atomic_write(self._file(day)) as file:
            file.write(zstandard.ZstdCompressor(write_checksum=True).compress(lines))

    def _read(self, days: list[date]) -> Iterator[PackageDownloads]:
        decoder = msgspec.json.Decoder(PackageDownloads)
        for day in days:
            try:
                content = zstandard.ZstdDecompressor().decompress(self._file(day).read_bytes())
                yield from decoder.decode_lines(content)
            except (OSError, zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise DownloadStatsError(
                    f"{self.name}: {self._file(day)} is damaged: {error}; remove it, and that day is queried again"
                ) from error

    def _forget(self, window: Window) -> None:
        kept = {self._file(day) for day in window.dates}
        for path in self._directory.glob(f"*{_SUFFIX}"):
            if path not in kept:
                path.unlink()


def service_account_client(extra: dict[str, Any], connection: str) -> Client:
    """Return the client of a service account; `extra` is that of an Airflow connection for Google, named `connection`.

    It holds ``keyfile_dict`` (an object, or JSON) or ``key_path``, and may hold ``project``. Raises DownloadStatsError,
    which does not quote the key.
    """
    try:
        if keyfile := extra.get("keyfile_dict"):
            info = json.loads(keyfile) if isinstance(keyfile, str) else keyfile
            credentials = Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
        else:
            credentials = Credentials.from_service_account_file(extra["key_path"])  # type: ignore[no-untyped-call]
    except (KeyError, OSError, TypeError, ValueError, AttributeError) as error:
        raise DownloadStatsError(
            f"{BigQuery.name}: the connection {connection} needs a service account's key as keyfile_dict, or the path "
            f"of its file as key_path, in its extra ({type(error).__name__})"
        ) from None
    return Client(project=extra.get("project") or credentials.project_id, credentials=credentials)


def _query(client: Client, day: date, **options: object) -> QueryJob:
    start = datetime.combine(day, time(), UTC)
    config = QueryJobConfig(
        query_parameters=[
            ScalarQueryParameter("start", "TIMESTAMP", start),
            ScalarQueryParameter("end", "TIMESTAMP", start + timedelta(1)),
        ],
        **options,
    )
    return client.query(_DAY, config, timeout=_REQUEST_SECONDS, retry=_RETRY, job_retry=None)
