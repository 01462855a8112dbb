"""BigQuery's own client against a local server that speaks its REST API."""

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.bigquery import Client

from pypi_scan.download_stats.bigquery import BigQuery, service_account_client
from pypi_scan.download_stats.source import DownloadStatsError, Statistics, Window

from .servers import Reply, Request, serving

WINDOW = Window(date(2026, 11, 15), date(2026, 11, 20))
DAY_BYTES = 40
PAGE = 2


class FakeBigQuery:
    """Jobs that are done at once: each day has `counts`, scans 40 bytes, and is remembered in `scanned`."""

    def __init__(self) -> None:
        self.counts = [("requests", 10), ("Zope.Interface", 2), ("zope-interface", 1)]
        self.scanned: list[str] = []
        self.refused: str | None = None
        self._days: dict[str, str] = {}

    def answer(self, request: Request) -> Reply:
        if request.method == "POST":
            return self._insert(json.loads(request.body))
        return self._results(request)

    def _insert(self, job: dict[str, Any]) -> Reply:
        configuration = job["configuration"]
        start, end = (p["parameterValue"]["value"][:10] for p in configuration["query"]["queryParameters"])
        assert date.fromisoformat(end) - date.fromisoformat(start) == timedelta(1)
        assert "timestamp >= @start AND timestamp < @end" in configuration["query"]["query"]
        status: dict[str, Any] = {"state": "DONE"}
        billed = 0
        if not configuration.get("dryRun"):
            if int(configuration["query"]["maximumBytesBilled"]) < DAY_BYTES or self.refused == start:
                message = "Query exceeded limit for bytes billed"
                error = {"reason": "bytesBilledLimitExceeded", "message": message}
                return json_reply({"error": {"code": 400, "message": message, "errors": [error]}}, 400)
            self.scanned.append(start)
            self._days[job["jobReference"]["jobId"]] = start
            billed = DAY_BYTES
        statistics = {
            "totalBytesProcessed": str(DAY_BYTES),
            "query": {
                "totalBytesProcessed": str(DAY_BYTES),
                "totalBytesBilled": str(billed),
                "statementType": "SELECT",
            },
        }
        return json_reply({**job, "status": status, "statistics": statistics})

    def _results(self, request: Request) -> Reply:
        job = request.path.rpartition("/")[2]
        assert job in self._days
        start = int(request.query.get("pageToken", 0))
        rows = [] if request.query.get("maxResults") == "0" else self.counts[start : start + PAGE]
        answer: dict[str, Any] = {
            "jobComplete": True,
            "jobReference": {"projectId": "payer", "jobId": job, "location": "US"},
            "schema": {"fields": [{"name": "project", "type": "STRING"}, {"name": "downloads", "type": "INTEGER"}]},
            "totalRows": str(len(self.counts)),
        }
        if rows:
            answer["rows"] = [{"f": [{"v": name}, {"v": str(count)}]} for name, count in rows]
        if rows and start + PAGE < len(self.counts):
            answer["pageToken"] = str(start + PAGE)
        return json_reply(answer)


def json_reply(content: dict[str, Any], status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status, headers={"Content-Type": "application/json"})


@pytest.fixture
def server() -> FakeBigQuery:
    return FakeBigQuery()


@pytest.fixture
def url(server: FakeBigQuery) -> Iterator[str]:
    with serving(server.answer) as url:
        yield url.rstrip("/")


@pytest.fixture
def make(url: str, tmp_path: Path) -> Any:
    """Make the source with a bound of so many days' bytes."""

    def connect() -> Client:
        return Client(project="payer", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})

    return lambda days=6: BigQuery(connect, tmp_path / "days", days * DAY_BYTES)


def test_a_window_is_the_sum_of_its_days(make: Any, server: FakeBigQuery) -> None:
    assert make().fetch(WINDOW) == Statistics({"requests": 60, "zope-interface": 18}, WINDOW)
    assert server.scanned == [str(day) for day in WINDOW.dates]


def test_no_day_is_scanned_twice_and_old_days_are_forgotten(make: Any, server: FakeBigQuery, tmp_path: Path) -> None:
    make().fetch(WINDOW)
    server.scanned.clear()
    server.counts = [("requests", 1)]
    later = Window(WINDOW.start + timedelta(3), WINDOW.end + timedelta(3))
    assert make(days=3).fetch(later).downloads == {"requests": 3 * 10 + 3, "zope-interface": 3 * 3}
    assert server.scanned == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert sorted(path.name[:10] for path in (tmp_path / "days").iterdir()) == [str(day) for day in later.dates]


def test_without_a_missing_day_nothing_is_asked(make: Any, tmp_path: Path) -> None:
    def connect() -> Client:
        raise AssertionError("there is nothing to ask")

    first = make().fetch(WINDOW)
    assert BigQuery(connect, tmp_path / "days", DAY_BYTES).fetch(WINDOW) == first


def test_what_would_cost_more_than_the_bound_does_not_begin(make: Any, server: FakeBigQuery) -> None:
    with pytest.raises(DownloadStatsError, match=r"6 days .* 2026-11-15 to 2026-11-20, .*PYPI_SCAN_BIGQUERY_MAX_GIB"):
        make(days=5).fetch(WINDOW)
    assert server.scanned == []


def test_a_failed_query_is_an_error_and_the_days_before_it_are_kept(make: Any, server: FakeBigQuery) -> None:
    server.refused = "2026-11-18"
    with pytest.raises(DownloadStatsError, match=r"^bigquery: .*exceeded limit for bytes billed"):
        make().fetch(WINDOW)
    server.refused = None
    make(days=3).fetch(WINDOW)
    assert server.scanned == [str(day) for day in WINDOW.dates]  # each once


def test_a_day_without_downloads_is_not_kept(make: Any, server: FakeBigQuery, tmp_path: Path) -> None:
    server.counts = []
    with pytest.raises(DownloadStatsError, match="no downloads on 2026-11-15"):
        make().fetch(WINDOW)
    assert not (tmp_path / "days").exists()


def test_a_damaged_day_is_named(make: Any, tmp_path: Path) -> None:
    make().fetch(WINDOW)
    damaged = tmp_path / "days" / "2026-11-17.jsonl.zst"
    damaged.write_bytes(damaged.read_bytes()[:-6])
    with pytest.raises(DownloadStatsError, match=f"{re.escape(str(damaged))} is damaged: .*remove it"):
        make().fetch(WINDOW)


def test_no_credentials_are_an_error_of_this_source(tmp_path: Path) -> None:
    def connect() -> Client:
        raise DefaultCredentialsError("Your default credentials were not found.")  # type: ignore[no-untyped-call]

    with pytest.raises(DownloadStatsError, match=r"^bigquery: .*default credentials"):
        BigQuery(connect, tmp_path, 1).fetch(WINDOW)


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    """A service account's key as Google gives it out."""
    private = rsa.generate_private_key(65537, 2048)
    return {
        "type": "service_account",
        "project_id": "owner",
        "client_email": "scanner@owner.example",
        "token_uri": "http://127.0.0.1:1/token",
        "private_key": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }


def test_the_key_of_a_connection_is_text_an_object_or_a_file(key: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key))
    for extra in ({"keyfile_dict": json.dumps(key)}, {"keyfile_dict": key}, {"key_path": str(file)}):
        assert service_account_client(extra, "google").project == "owner"
    assert service_account_client({"keyfile_dict": key, "project": "payer"}, "google").project == "payer"


@pytest.mark.parametrize("extra", [{}, {"keyfile_dict": "not JSON"}, {"keyfile_dict": [1]}, {"key_path": "/nowhere"}])
def test_a_connection_without_a_key_is_named(extra: dict[str, Any]) -> None:
    with pytest.raises(DownloadStatsError, match=r"^bigquery: the connection google needs a service account's key"):
        service_account_client(extra, "google")


def test_a_damaged_key_is_not_quoted(key: dict[str, str]) -> None:
    first = key["private_key"].splitlines()[1]
    damaged = {**key, "private_key": key["private_key"].replace(first, first[:-4])}
    with pytest.raises(DownloadStatsError) as raised:
        service_account_client({"keyfile_dict": damaged}, "google")
    assert first[:20] not in str(raised.value)
    assert raised.value.__suppress_context__
