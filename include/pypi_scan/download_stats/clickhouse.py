"""ClickHouse's public copy of PyPI's download counts, over its HTTP interface.

An answer can break off after its status of 200, with the text of an exception behind good rows, or with nothing. The
server is asked to have the whole answer before it begins one (``wait_end_of_query``), and what comes is checked against
totals that are asked for first.
"""

from collections.abc import Iterator
from datetime import date

import msgspec

from pypi_scan.download_stats.source import (
    WINDOW_DAYS,
    Downloads,
    DownloadStatsError,
    Statistics,
    Window,
    total_by_name,
)
from pypi_scan.download_stats.web import answer

_USER = "demo"  # public, without a password, read-only, and with a quota
_OF_THE_WINDOW = "FROM pypi.pypi_downloads_per_day WHERE date BETWEEN {start:Date} AND {end:Date}"
_TOTALS = (
    "SELECT min(date) AS first, max(date) AS last, uniqExact(date) AS days, uniqExact(project) AS packages, "
    f"sum(count) AS downloads {_OF_THE_WINDOW} FORMAT JSONEachRow"
)
_COUNTS = f"SELECT project, sum(count) AS downloads {_OF_THE_WINDOW} GROUP BY project FORMAT JSONEachRow"
_MIN_DAYS = WINDOW_DAYS - 5  # the table may lag some days; counts of fewer days are no counts of 30


class _Totals(msgspec.Struct, frozen=True):
    first: date
    last: date
    days: int
    packages: int
    downloads: int


class _Count(msgspec.Struct, frozen=True):
    project: str
    downloads: Downloads


class ClickHouse:
    """The HTTP interface at `url`, with the table ``pypi.pypi_downloads_per_day`` (date, project, count)."""

    name = "clickhouse"

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch(self, window: Window) -> Statistics:
        """Return the counts of the days of `window` that the table has; raises DownloadStatsError for under 25."""
        answered = list(self._rows(_TOTALS, window, _Totals))
        if len(answered) != 1:
            raise DownloadStatsError(f"{self.name}: {self._url} answered {len(answered)} rows of totals instead of one")
        (totals,) = answered
        if totals.days < _MIN_DAYS:
            raise DownloadStatsError(
                f"{self.name}: {self._url} has the downloads of {totals.days} of the {WINDOW_DAYS} days from "
                f"{window.start} to {window.end}, at least {_MIN_DAYS} are needed: its table is not kept up to date"
            )
        counts = list(self._rows(_COUNTS, window, _Count))
        found = len(counts), sum(count.downloads for count in counts)
        if found != (totals.packages, totals.downloads):
            raise DownloadStatsError(
                f"{self.name}: the answer of {self._url} has {found[0]} packages with {found[1]} downloads where there "
                f"are {totals.packages} with {totals.downloads}: it broke off, or the table is being changed"
            )
        by_name = total_by_name(((count.project, count.downloads) for count in counts), self.name)
        return Statistics(by_name, Window(totals.first, totals.last))

    def _rows[Row](self, query: str, window: Window, row: type[Row]) -> Iterator[Row]:
        """Yield the rows of a query; raises DownloadStatsError at a line that is none, such as an exception's text."""
        # Not strict: older servers write 64-bit counts as strings, since JavaScript would round them as numbers.
        decoder = msgspec.json.Decoder(row, strict=False)
        parameters = {"param_start": str(window.start), "param_end": str(window.end), "wait_end_of_query": "1"}
        with answer(
            "POST",
            self._url,
            self.name,
            data=query.encode(),
            params=parameters,
            headers={"X-ClickHouse-User": _USER},
            allow_redirects=False,
        ) as body:
            for number, line in enumerate(_lines(body), start=1):
                # A column of strings holds any bytes; what is no UTF-8 is no name either, and is left out as such.
                text = line.decode("utf-8", "replace")
                try:
                    yield decoder.decode(text)
                except msgspec.MsgspecError as error:
                    raise DownloadStatsError(
                        f"{self.name}: line {number} of the answer of {self._url} is no row ({error}): {text[:300]!r}"
                    ) from error


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest
