"""When `global_scan` runs by itself."""

from datetime import timedelta

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.timezone import coerce_datetime, utcnow
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable

LATE = timedelta(days=3)


class ScanTimetable(CronTriggerTimetable):
    """Runs at the dates of a cron expression, at most `LATE` after them.

    Airflow runs the latest date that a schedule missed, however old, as soon as there is a run by schedule or backfill
    that it can go on from. The first backfill would thus start a scan of the present beside it, which takes days. What
    was missed for longer than `LATE` is left to a backfill, which scans the same as a run in time would have.
    """

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next run; `restriction.catchup` asks for the dates of a backfill, all of which are past."""
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        now = coerce_datetime(utcnow())
        if restriction.catchup or info is None or info.run_after >= now - LATE:
            return info
        return DagRunInfo.exact(self._align_to_next(now))


class ScanTimetablePlugin(AirflowPlugin):
    """Makes the timetable known to Airflow's services."""

    name = "scan_timetable"
    timetables = (ScanTimetable,)
