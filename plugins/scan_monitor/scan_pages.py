"""The page *A scan*: how far it is, who does what, what failed; and the way to it from a DAG run."""

import time
from collections.abc import Sequence
from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from alerts import ALERTS
from pypi_scan.monitor.scan_list import planned_scan, planned_scans
from pypi_scan.monitor.scan_view import ShardState, ShardView, scan_view
from pypi_scan.monitor.task_alerts import failed_tasks
from pypi_scan.plan import SCAN_ID
from pypi_scan.settings import Settings
from scan_monitor.airflow_state import SCAN_DAG, STEPS, TaskStates, scan_run, task_states
from scan_monitor.charts import rows, stacked
from scan_monitor.pages import link, render

router = APIRouter()

_SHARDS_A_PAGE = 50

type _Position = Annotated[int | None, Query(ge=0, lt=10_000)]
type _PageNumber = Annotated[int, Query(ge=1, lt=10_000)]


@router.get("/scans/{scan_id}")
def scan(
    request: Request, scan_id: str, session: SessionDep, page: _PageNumber = 1, shard: _Position = None
) -> Response:
    """Answer with the page of a scan: the `page` of its shards, or the one with the `shard` at a position."""
    settings = Settings.load()
    found = planned_scan(settings.scans_dir / scan_id) if SCAN_ID.fullmatch(scan_id) else None
    if found is None:
        raise HTTPException(404, f"There is no scan {scan_id} on this host.")
    view = scan_view(settings.scans_dir / scan_id, found, time.time())
    run = scan_run(session, found.plan.run_id)
    pages = max(-(-len(view.shards) // _SHARDS_A_PAGE), 1)
    page = min(page if shard is None else shard // _SHARDS_A_PAGE + 1, pages)
    tasks = task_states(session, run.run_id) if run else TaskStates([], {})
    shards = sorted(view.shards, key=lambda one: _urgency(one, tasks))
    pages = max(-(-len(shards) // _SHARDS_A_PAGE), 1)
    page = min(page if shard is None else _place(shards, shard) // _SHARDS_A_PAGE + 1, pages)
    return render(
        request,
        "scan.html.j2",
        live=bool(view.outcomes.unread or (run and run.active)),
        running=bool(run and run.active),
        view=view,
        run=run,
        tasks=tasks,
        published=any(task.task_id == "publish" and task.state == "success" for task in tasks.tasks),
        failed_tasks=failed_tasks(settings.state_dir / ALERTS, SCAN_DAG, found.plan.run_id),
        steps=STEPS,
        rows=rows(view.timeline),
        shard_pieces=stacked({str(state): number for state, number in view.states.items()}),
        status_pieces=stacked(view.outcomes.by_status),
        page=page,
        pages=pages,
        shown=shards[(page - 1) * _SHARDS_A_PAGE : page * _SHARDS_A_PAGE],
        shards_a_page=_SHARDS_A_PAGE,
        marked=shard,
        cdn=settings.cdn_public_url.rstrip("/"),
    )


def _urgency(shard: ShardView, tasks: TaskStates) -> int:
    """Return what shards are sorted by: those that need a person, those that are under way, the others."""
    if "failed" in tasks.shards.get(shard.position, {}).values():
        return 0
    return 2 if shard.state in (ShardState.WAITING, ShardState.COLLECTED) else 1


def _place(shards: Sequence[ShardView], position: int) -> int:
    return next((place for place, shard in enumerate(shards) if shard.position == position), 0)


@router.get("/runs/{dag_id}/{run_id}")
def run_of_dag(
    request: Request, dag_id: str, run_id: str, session: SessionDep, map_index: _Position = None
) -> Response:
    """Lead from a DAG run, or the task of a shard in it, to its scan, if it is one."""
    scans = planned_scans(Settings.load().scans_dir) if dag_id == SCAN_DAG else ()
    for planned in scans:
        if planned.plan.run_id == run_id:
            there = link(request, "scan", scan_id=planned.plan.scan_id)
            where = "" if map_index is None else f"?shard={map_index}#shard-{map_index}"
            return RedirectResponse(there + where, 303)
    run = scan_run(session, run_id) if dag_id == SCAN_DAG else None
    return render(request, "no_scan.html.j2", live=bool(run and run.active), run=run, scan_dag=SCAN_DAG)
