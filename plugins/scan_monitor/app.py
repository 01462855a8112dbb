"""The application of the scan monitor, as Airflow's API server mounts it."""

from http import HTTPStatus
from pathlib import Path

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from pypi_scan.monitor.findings import FilterError
from pypi_scan.monitor.parquet_queries import EditionError
from pypi_scan.read_package import ReadError
from pypi_scan.settings import SettingsError
from scan_monitor import findings_pages, overview_pages, package_pages, scan_pages
from scan_monitor.airflow_state import SCAN_DAG
from scan_monitor.pages import render
from scan_monitor.security_headers import SecurityHeaders


def create_app() -> ASGIApp:
    """Return the application: every page is for those who may see the DAG of the scans."""
    app = FastAPI(
        title="Scan monitor",
        openapi_url=None,
        dependencies=[Depends(requires_access_dag("GET", param_dag_id=SCAN_DAG))],
        exception_handlers={
            HTTPException: _refused,
            RequestValidationError: _not_understood,
            SettingsError: _not_set_up,
            FilterError: _not_asked_right,
            EditionError: _unreadable,
            ReadError: _unreadable,
            Exception: _failed,
        },
    )
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    for router in (overview_pages.router, scan_pages.router, findings_pages.router, package_pages.router):
        app.include_router(router)
    return SecurityHeaders(app)


async def _refused(request: Request, error: HTTPException) -> Response:
    return render(
        request,
        "error.html.j2",
        status=error.status_code,
        phrase=HTTPStatus(error.status_code).phrase,
        detail=error.detail,
    )


async def _not_understood(request: Request, error: RequestValidationError) -> Response:
    return render(
        request, "error.html.j2", status=422, phrase="Not understood", detail="A part of the address is not a number."
    )


async def _not_set_up(request: Request, error: SettingsError) -> Response:
    return render(request, "error.html.j2", status=503, phrase="Airflow's API server lacks settings", detail=str(error))


async def _not_asked_right(request: Request, error: FilterError) -> Response:
    return render(request, "error.html.j2", status=422, phrase="Not understood", detail=f"{error}.")


async def _unreadable(request: Request, error: EditionError | ReadError) -> Response:
    return render(request, "error.html.j2", status=500, phrase="A dataset cannot be read", detail=str(error))


async def _failed(request: Request, error: Exception) -> Response:
    """Say that a page failed; the API server logs why."""
    return render(
        request, "error.html.j2", status=500, phrase="The page failed", detail="The log of the API server says why."
    )
