"""The page *Overview*: the mirror, the datasets, the scan that runs and those before it."""

import time
from itertools import islice

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse

from pypi_scan.monitor.dataset_files import dataset_files
from pypi_scan.monitor.mirror_facts import hours_of_changes, mirror_facts
from pypi_scan.monitor.scan_list import planned_scans
from pypi_scan.monitor.scan_view import scan_view
from pypi_scan.settings import Settings
from scan_monitor.airflow_state import mirror_changes, published_runs, scan_runs
from scan_monitor.charts import columns
from scan_monitor.pages import render

router = APIRouter()

_SCANS = 12
_HOURS = 72
_CHART_HEIGHT = 120.0


@router.get("/", dependencies=[Depends(requires_access_dag("GET", param_dag_id="pypi_sync"))])
def overview(request: Request, session: SessionDep) -> HTMLResponse:
    """Answer with the overview; a scan that runs keeps it fresh."""
    settings = Settings.load()
    runs = {run.run_id: run for run in scan_runs(session, _SCANS)}
    scans = list(islice(planned_scans(settings.scans_dir), _SCANS))
    current = next((scan for scan in scans if (run := runs.get(scan.plan.run_id)) and run.active), None)
    now = time.time()
    planned = {scan.plan.run_id for scan in scans}
    hours = hours_of_changes(mirror_changes(session, _HOURS), now, _HOURS)
    return render(
        request,
        "overview.html.j2",
        live=any(run.active for run in runs.values()),
        current=current and scan_view(settings.scans_dir / current.plan.scan_id, current, now),
        mirror=mirror_facts(settings),
        datasets=dataset_files(settings),
        columns=columns(hours, _CHART_HEIGHT),
        chart_height=_CHART_HEIGHT,
        scans=[(scan, runs.get(scan.plan.run_id)) for scan in scans],
        unplanned=[run for run in runs.values() if run.run_id not in planned],
        published=published_runs(session, planned),
        cdn=settings.cdn_public_url.rstrip("/"),
    )
