"""The application of the scan monitor, as Airflow's API server mounts it."""

from http import HTTPStatus
from pathlib import Path

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from scan_monitor import overview_pages
from scan_monitor.pages import render
from scan_monitor.security_headers import SecurityHeaders

SCAN_DAG = "global_scan"


def create_app() -> ASGIApp:
    """Return the application: every page is for those who may see the DAG of the scans."""
    app = FastAPI(
        title="Scan monitor",
        openapi_url=None,
        dependencies=[Depends(requires_access_dag("GET", param_dag_id=SCAN_DAG))],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.include_router(overview_pages.router)
    return SecurityHeaders(app)


async def _refused(request: Request, error: HTTPException) -> Response:
    return render(
        request,
        "error.html.j2",
        status=error.status_code,
        phrase=HTTPStatus(error.status_code).phrase,
        detail=error.detail,
    )


async def _failed(request: Request, error: Exception) -> Response:
    """Say that a page failed; the API server logs why."""
    return render(
        request, "error.html.j2", status=500, phrase="The page failed", detail="The log of the API server says why."
    )
