"""ClickHouse over HTTP: what is asked for, what is made of the answer, and every way in which it can be wrong."""

import json
from datetime import date

import pytest

from pypi_scan.download_stats import web
from pypi_scan.download_stats.clickhouse import ClickHouse
from pypi_scan.download_stats.source import DownloadStatsError, Statistics, Window

from .servers import Reply, Request, serving

WINDOW = Window(date(2026, 10, 22), date(2026, 11, 20))
ROWS = {"requests": "1204000000", "Zope.Interface": "12", "zope-interface": "3", "six": "790000000"}
TOTALS = {"first": "2026-10-22", "last": "2026-11-19", "days": "29", "packages": "4", "downloads": "1994000015"}


def json_rows(*rows: dict[str, str]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


COUNTS = json_rows(*({"project": name, "downloads": count} for name, count in ROWS.items()))


class FakeClickHouse:
    """Answers the query of totals with `totals`, the query of counts with `counts`, and keeps the requests."""

    def __init__(self) -> None:
        self.totals = Reply(json_rows(TOTALS))
        self.counts = Reply(COUNTS)
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.counts if b"GROUP BY project" in request.body else self.totals

    def fetch(self) -> Statistics:
        with serving(self.answer) as url:
            return ClickHouse(url).fetch(WINDOW)


@pytest.fixture
def clickhouse() -> FakeClickHouse:
    return FakeClickHouse()


def test_counts_are_summed_by_canonical_name_and_the_window_is_that_of_the_table(clickhouse: FakeClickHouse) -> None:
    assert clickhouse.fetch() == Statistics(
        {"requests": 1_204_000_000, "zope-interface": 15, "six": 790_000_000},
        Window(date(2026, 10, 22), date(2026, 11, 19)),
    )


def test_counts_may_also_be_numbers(clickhouse: FakeClickHouse) -> None:
    quoted = clickhouse.fetch()
    clickhouse.counts = Reply(
        b"".join(b'{"project":"%b","downloads":%b}\n' % (k.encode(), v.encode()) for k, v in ROWS.items())
    )
    clickhouse.totals = Reply(json_rows(TOTALS).replace(b'"1994000015"', b"1994000015"))
    assert clickhouse.fetch() == quoted


def test_the_query_is_the_body_and_its_values_are_parameters(clickhouse: FakeClickHouse) -> None:
    clickhouse.fetch()
    for request in clickhouse.requests:
        assert request.method == "POST"
        assert request.headers["X-ClickHouse-User"] == "demo"
        assert request.query == {"param_start": "2026-10-22", "param_end": "2026-11-20", "wait_end_of_query": "1"}
        query = request.body.decode()
        assert "FROM pypi.pypi_downloads_per_day WHERE date BETWEEN {start:Date} AND {end:Date}" in query
        assert query.endswith("FORMAT JSONEachRow")


def test_a_few_names_that_cannot_be_packages_are_left_out(
    clickhouse: FakeClickHouse, caplog: pytest.LogCaptureFixture
) -> None:
    good = [{"project": f"package-{number}", "downloads": "1"} for number in range(300)]
    bad = b'{"project":"../../etc","downloads":"1"}\n{"project":"\xff\xfe","downloads":"1"}\n'
    clickhouse.counts = Reply(json_rows(*good) + bad)
    clickhouse.totals = Reply(json_rows({**TOTALS, "packages": "302", "downloads": "302"}))
    assert len(clickhouse.fetch().downloads) == 300
    assert "'../../etc'" in caplog.text
    assert "left out 2 of 302 rows" in caplog.text


QUOTA = (
    b"Code: 201. DB::Exception: Quota for user `demo` for 3600s has been exceeded: queries = 61/60. (QUOTA_EXCEEDED)\n"
)
EXCEPTION = b"Code: 159. DB::Exception: Timeout exceeded: elapsed 60.5 seconds. (TIMEOUT_EXCEEDED)\n"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (Reply(QUOTA, 500), "answered 500: 'Code: 201.*QUOTA_EXCEEDED"),
        (Reply(QUOTA, 429, headers={"Retry-After": "3600"}), "answered 429: 'Code: 201"),
        (Reply(b"Code: 516. DB::Exception: demo: Authentication failed\n", 403), "answered 403: 'Code: 516"),
        (Reply(b"", 307, headers={"Location": "http://127.0.0.1:1/"}), "answered 307"),
        (Reply(COUNTS[:120] + EXCEPTION), "line 3 .* is no row .*Code: 159"),
        (Reply(COUNTS + EXCEPTION), "line 5 .* is no row .*TIMEOUT_EXCEEDED"),
        (Reply(COUNTS + b'{"exception": "Code: 159. DB::Exception: Timeout"}\n'), "line 5 .*Code: 159"),
        (Reply(COUNTS, cut=True), "cannot be read"),
        (Reply(COUNTS[:-20]), "line 4 .* is no row"),
        (Reply(COUNTS.rpartition(b'{"')[0]), "has 3 packages with 1204000015 downloads .* are 4 with 1994000015"),
        (Reply(COUNTS.replace(b'"12"', b'"11"')), "1994000014 downloads .* 1994000015"),
        (Reply(COUNTS.replace(b'"12"', b'"-12"')), "line 2 .*>= 0"),
        (Reply(COUNTS.replace(b'"12"', b'"9223372036854775808"')), "line 2 .*<= 1000000000000"),
        (Reply(COUNTS.replace(b'"12"', b'"1.5"')), "line 2 .*int"),
        (Reply(b""), "has 0 packages"),
        (Reply(COUNTS.replace(b"six", b"../6")), "1 of 4 rows do not name a package.*'../6'"),
    ],
)
def test_a_wrong_answer_is_an_error_that_quotes_it(clickhouse: FakeClickHouse, counts: Reply, message: str) -> None:
    clickhouse.counts = counts
    with pytest.raises(DownloadStatsError, match=rf"(?s)^clickhouse: .*{message}"):
        clickhouse.fetch()


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        (Reply(b""), "0 rows of totals instead of one"),
        (Reply(json_rows(TOTALS, TOTALS)), "2 rows of totals"),
        (Reply(json_rows(TOTALS) + EXCEPTION), "line 2 .*Code: 159"),
        (Reply(json_rows({**TOTALS, "days": "24"})), "24 of the 30 days from 2026-10-22 to 2026-11-20"),
        (Reply(json_rows({**TOTALS, "days": "0", "packages": "0", "first": "1970-01-01"})), "0 of the 30 days"),
        (Reply(json_rows({**TOTALS, "last": "yesterday"})), "line 1 "),
    ],
)
def test_wrong_totals_are_an_error(clickhouse: FakeClickHouse, totals: Reply, message: str) -> None:
    clickhouse.totals = totals
    with pytest.raises(DownloadStatsError, match=rf"^clickhouse: .*{message}"):
        clickhouse.fetch()


def test_a_quota_is_not_asked_again(clickhouse: FakeClickHouse) -> None:
    clickhouse.totals = Reply(QUOTA, 429, headers={"Retry-After": "3600"})
    with pytest.raises(DownloadStatsError):
        clickhouse.fetch()
    assert len(clickhouse.requests) == 1


def test_a_gateway_that_is_down_for_a_moment_is_asked_again(clickhouse: FakeClickHouse) -> None:
    replies = [Reply(b"upstream down", 502), Reply(json_rows(TOTALS)), Reply(COUNTS)]
    with serving(lambda request: replies.pop(0)) as url:
        assert len(ClickHouse(url).fetch(WINDOW).downloads) == 3
    assert not replies


def test_an_answer_without_end_is_given_up(clickhouse: FakeClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_ANSWER_BYTES", 100_000)
    clickhouse.counts = Reply(b" " * 200_000)
    with pytest.raises(DownloadStatsError, match="larger than 100000 bytes"):
        clickhouse.fetch()


def test_an_answer_that_takes_too_long_is_given_up(clickhouse: FakeClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_ANSWER_SECONDS", -1.0)
    with pytest.raises(DownloadStatsError, match="took over"):
        clickhouse.fetch()


def test_a_server_that_is_not_there_is_an_error(clickhouse: FakeClickHouse) -> None:
    with serving(clickhouse.answer) as url:
        pass
    with pytest.raises(DownloadStatsError, match=rf"^clickhouse: {url} cannot be read: .*refused"):
        ClickHouse(url).fetch(WINDOW)
