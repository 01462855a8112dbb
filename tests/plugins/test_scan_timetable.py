"""When the next scan by the schedule is due, after a run by schedule or backfill."""

from datetime import timedelta

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction

import scan_timetable
from scan_timetable import ScanTimetable

MONTHLY = ScanTimetable("0 3 1 * *", timezone="UTC", run_immediately=timedelta(0))
UNBOUND = TimeRestriction(earliest=None, latest=None, catchup=False)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        pytest.param(None, "2026-11-01T04:00", "2026-12-01T03:00", id="unpaused just after a date"),
        pytest.param("2026-10-01T03:00", "2026-11-01T03:00:20", "2026-11-01T03:00", id="in time"),
        pytest.param("2026-10-01T03:00", "2026-11-03T12:00", "2026-11-01T03:00", id="the scheduler was down for days"),
        pytest.param("2026-10-01T03:00", "2026-11-04T12:00", "2026-12-01T03:00", id="the scheduler was down for long"),
        pytest.param("2025-12-01T03:00", "2026-11-22T12:00", "2026-12-01T03:00", id="after a backfill"),
        pytest.param("2026-11-01T03:00", "2026-11-22T12:00", "2026-12-01T03:00", id="after the latest"),
    ],
)
def test_a_date_that_was_missed_for_long_is_not_run_late(monkeypatch, last, now, due):
    monkeypatch.setattr(scan_timetable, "utcnow", lambda: pendulum.parse(now))
    monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda: pendulum.parse(now))
    interval = last and DataInterval.exact(pendulum.parse(last))
    info = MONTHLY.next_dagrun_info(last_automated_data_interval=interval, restriction=UNBOUND)
    assert info.run_after == info.logical_date == pendulum.parse(due)


def test_a_backfill_is_given_past_dates():
    year = TimeRestriction(pendulum.datetime(2025, 1, 1), pendulum.datetime(2025, 12, 31), catchup=True)
    first = MONTHLY.next_dagrun_info(last_automated_data_interval=None, restriction=year)
    assert first.logical_date == pendulum.datetime(2025, 1, 1, 3)
    second = MONTHLY.next_dagrun_info(last_automated_data_interval=first.data_interval, restriction=year)
    assert second.logical_date == pendulum.datetime(2025, 2, 1, 3)
