"""
### Keep the mirror of PyPI up to date

Runs bandersnatch every hour, one sync at a time. When packages changed, the asset `pypi_mirror` is updated, which
starts `dataset_regeneration`; when nothing changed, the task `announce` is skipped and nothing follows. Changes are
told again by the next sync until `acknowledge` has noted that they were announced.

A project that upstream no longer lists changed too: `gone.json` of the state directory names it, and what the mirror
has of it stays for scans of the past. So does what it has of a project that upstream has quarantined, which is not
synced; `project-status.json` names those, and what is archived or deprecated.

A package that cannot be synced holds up nothing: what may pass is tried again at once, the rest is put aside, in
`sync-report.json` of the state directory with the reason, since when and how often it was tried. The result counts it,
the log names it, and every sync tries it again. What upstream lists without a JSON document is tried three times.

**If it fails**: upstream or this host is in trouble, and the log of `sync` ends with one sentence that says which: the
disk is nearly full (`PYPI_SCAN_MIN_FREE_GB`) or cannot be written, upstream is not reached, or most packages fail. The
mirror keeps its last consistent serial, and the next run takes up what is left. A damaged `todo` or `status` of
bandersnatch is set aside beside it, as the log says.

**By hand**: trigger it at any time; a second sync beside a running one is refused, also from another host. The lock is
`.sync-lock` in the mirror's directory.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from alerts import SYNC_DEADLINE
from dag_defaults import DEFAULT_ARGS, NOT_AT_ONCE, PYPI_MIRROR, Tag
from pypi_scan.settings import Settings
from pypi_scan.sync import acknowledge_changes, sync_mirror


@dag(
    schedule=CronTriggerTimetable("17 * * * *", timezone="UTC", run_immediately=NOT_AT_ONCE),
    catchup=False,
    max_active_runs=1,
    deadline=SYNC_DEADLINE,
    default_args=DEFAULT_ARGS,
    tags=[Tag.MIRROR],
    doc_md=__doc__,
)
def pypi_sync() -> None:
    @task(execution_timeout=timedelta(hours=12))
    def sync() -> dict[str, Any]:
        result = asdict(sync_mirror(Settings.load()))
        return {**result, "changed_list": str(result["changed_list"])}

    @task(outlets=[PYPI_MIRROR])
    def announce(result: dict[str, Any], *, outlet_events: Any = None) -> None:
        if not result["changed"]:
            raise AirflowSkipException(f"no package changed; the mirror stands at serial {result['serial']}")
        outlet_events[PYPI_MIRROR].extra = {key: result[key] for key in ("serial", "changed", "changed_list")}

    @task
    def acknowledge(result: dict[str, Any]) -> None:
        acknowledge_changes(Settings.load(), result["ended_ns"])

    result = sync()
    announce(result) >> acknowledge(result)


pypi_sync()
