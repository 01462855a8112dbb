"""The page *Overview*: the mirror, the datasets, the scan that runs and those before it."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from scan_monitor.pages import render

router = APIRouter()


@router.get("/")
def overview(request: Request) -> HTMLResponse:
    """Answer with the overview."""
    return render(request, "overview.html.j2")
