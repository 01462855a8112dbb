"""
### Verify the mirror, and repair it

Each hour one of 168 parts, the one that was verified longest ago, so that every package is looked at once a week: its
JSON and its index page are there, every file that is there has the digest that the JSON says, and every file that
bandersnatch's configuration keeps is there. What is not right is fetched again, and replaces what is there only when it
is right. Files that no JSON names are reported and left alone. The report of each part is `verify/<part>.json` of the
state directory.

It reads the whole mirror once a week. It writes only to repair, under the lock of `pypi_sync`, which waits for it; if a
sync is running, it waits for that, up to an hour.

**If it fails**: the log ends with one sentence. Damage that upstream could not mend stays as it is, and fails the run
of that part every week; remove what upstream has deleted, or restore it from a backup. Packages that are gone or
quarantined upstream, or that the sync has put aside, are in the report as `excused`.

**By hand**: trigger it to verify the next part.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dag_defaults import DEFAULT_ARGS, NOT_AT_ONCE, Tag
from pypi_scan.mirror import Mirror
from pypi_scan.settings import Settings


@dag(
    schedule=CronTriggerTimetable("47 * * * *", timezone="UTC", run_immediately=NOT_AT_ONCE),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=[Tag.MIRROR],
    doc_md=__doc__,
)
def mirror_verify() -> None:
    @task(execution_timeout=timedelta(hours=6))
    def verify() -> dict[str, Any]:
        from pypi_scan.mirror_verify import VerifyError, verify_mirror

        settings = Settings.load()
        if not Mirror(settings.mirror_root).serial():
            raise AirflowSkipException("the mirror has not been synced yet")
        try:
            report = verify_mirror(settings)
        except VerifyError as error:
            raise AirflowFailException(str(error)) from error  # another try would verify another part
        return {
            "part": report.part,
            "packages": report.packages,
            "files": report.files,
            "bytes": report.bytes,
            "repaired": len(report.repaired),
            "excused": len(report.excused),
            "unknown": len(report.unknown),
        }

    verify()


mirror_verify()
