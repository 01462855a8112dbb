"""From the params of a DAG run to what a scan is asked for."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pypi_scan.scan_request import RequestError, ScanRequest, scan_request

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
LOGICAL = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("param", "logical_date", "as_of"),
    [
        ("2025-06-01T10:00:00Z", LOGICAL, datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01T10:00:00+02:00", LOGICAL, datetime(2025, 6, 1, 8, tzinfo=UTC)),
        ("2025-06-01T10:00:00", LOGICAL, datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01", None, datetime(2025, 6, 1, tzinfo=UTC)),
        ("2026-11-20T12:30:00Z", None, NOW),
        (None, LOGICAL, LOGICAL),
        ("", LOGICAL, LOGICAL),
        (None, None, NOW),
        (None, NOW + timedelta(days=40), NOW),
    ],
)
def test_as_of_is_the_param_else_the_logical_date_else_now(
    param: str | None, logical_date: datetime | None, as_of: datetime
) -> None:
    assert scan_request({"as_of": param}, logical_date, NOW).as_of == as_of


def test_a_backfill_takes_no_as_of() -> None:
    assert scan_request({"as_of": None}, LOGICAL, NOW, backfill=True).as_of == LOGICAL
    with pytest.raises(RequestError, match="a backfill scans each of its own dates"):
        scan_request({"as_of": "2025-06-01"}, LOGICAL, NOW, backfill=True)


@pytest.mark.parametrize("param", ["soon", "2026-13-01", "2025-06-01T", "x" * 10_000, "0001-01-01T00:00:00+14:00"])
def test_what_is_no_date_is_refused_with_an_example(param: str) -> None:
    with pytest.raises(RequestError, match=r"as_of: .* is not a date; write for example 2026") as refused:
        scan_request({"as_of": param}, LOGICAL, NOW)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("param", ["2026-11-20T12:30:01Z", "2026-11-20T14:30:01+02:00", "9999-12-31T23:59:59"])
def test_the_future_is_refused(param: str) -> None:
    with pytest.raises(RequestError, match="future"):
        scan_request({"as_of": param}, LOGICAL, NOW)


def test_the_refused_time_is_given_in_utc() -> None:
    far_east = NOW.astimezone(timezone(timedelta(hours=9))) + timedelta(hours=1)
    with pytest.raises(RequestError, match="2026-11-20 13:30 UTC lies in the future"):
        scan_request({"as_of": far_east.isoformat()}, None, NOW)


def test_packages_and_limit() -> None:
    params: dict[str, Any] = {"packages": [" six ", "zope.*"], "limit": 5}
    assert scan_request(params, LOGICAL, NOW) == ScanRequest(LOGICAL, ("six", "zope.*"), 5)
    assert scan_request({"packages": None}, LOGICAL, NOW) == ScanRequest(LOGICAL)


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_package_name_is_refused(empty: str) -> None:
    with pytest.raises(RequestError, match="packages: an empty name"):
        scan_request({"packages": ["six", empty]}, LOGICAL, NOW)
