"""Rendering of pages: all values are escaped and made visible, none may be missing.

A template has beside its values `link(route, **parameters)` to a page of the monitor, `ui(path)` to one of Airflow's
UI, and `asset(name)` to a file of ours; all are paths, as Airflow may be served under any host and below a path.
"""

import time
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from scan_monitor import formats

REFRESH_SECONDS = 5


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scan_monitor"),
        autoescape=True,
        finalize=formats.visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (formats.count, formats.size, formats.duration, formats.share, formats.instant):
        environment.filters[function.__name__] = function
    environment.filters["segment"] = lambda text: quote(text, safe="")
    return environment


def render(request: Request, template: str, *, status: int = 200, live: bool = False, **values: Any) -> HTMLResponse:
    """Return the page that `template` makes of `values`; a `live` one is fetched again every few seconds."""
    html = (
        _environment()
        .get_template(template)
        .render(
            values,
            link=lambda route, /, **parameters: link(request, route, **parameters),
            ui=lambda path: f"{_airflow_path(request)}{path}",
            asset=lambda name: link(request, "static", path=name),
            status=status,
            live=live,
            refresh=REFRESH_SECONDS if live else None,
            now=time.time(),
        )
    )
    return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})


def link(request: Request, route: str, /, **parameters: Any) -> str:
    """Return the path of a page of the monitor."""
    return f"{request.scope['root_path']}{request.app.url_path_for(route, **parameters)}"


def _airflow_path(request: Request) -> str:
    return str(request.scope.get("app_root_path", "")).rstrip("/")
