"""The monthly list over HTTP."""

import json
from datetime import date

import pytest

from pypi_scan.download_stats.source import DownloadStatsError, Statistics, Window
from pypi_scan.download_stats.top_packages import TopPackages

from .servers import Reply, serving

WINDOW = Window(date(2026, 10, 22), date(2026, 11, 20))
ROWS = [{"project": "boto3", "download_count": 1_900_000_000}, {"project": "Six", "download_count": 9}]
DOCUMENT = {"last_update": "2026-11-01 04:31:02", "query": {"bytes_processed": 1}, "rows": ROWS}


def fetch(content: bytes, status: int = 200) -> Statistics:
    with serving(lambda request: Reply(content, status)) as url:
        return TopPackages(f"{url}top.json").fetch(WINDOW)


def test_the_window_is_the_30_days_before_the_last_update() -> None:
    assert fetch(json.dumps(DOCUMENT).encode()) == Statistics(
        {"boto3": 1_900_000_000, "six": 9}, Window(date(2026, 10, 2), date(2026, 10, 31))
    )


@pytest.mark.parametrize("last_update", [None, "soon", 5, "0001-01-01"])
def test_without_a_date_the_window_is_not_known(last_update: object) -> None:
    assert fetch(json.dumps({**DOCUMENT, "last_update": last_update}).encode()).window is None


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"<html>moved</html>", 200, "is not a top-pypi-packages document"),
        (json.dumps(DOCUMENT).encode()[:-5], 200, "is not a top-pypi-packages document"),
        (b'{"rows": [{"project": "a", "download_count": -1}]}', 200, "row 1: .*>= 0"),
        (b'{"rows": [{"project": "a/b", "download_count": 1}]}', 200, "row 1: not a valid project name"),
        (b"not found", 404, "answered 404: 'not found'"),
    ],
)
def test_anything_else_is_an_error(content: bytes, status: int, message: str) -> None:
    with pytest.raises(DownloadStatsError, match=f"^top_packages: .*top.json.*{message}"):
        fetch(content, status)
