"""The scan monitor in Airflow's UI: an entry of the menu."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/scan-monitor"

type _Message = MutableMapping[str, Any]


class PagesOnDemand:
    """The pages, as an ASGI application that is made when it is first asked.

    Every process of Airflow loads plugins, and what the pages import takes seconds.
    """

    async def __call__(
        self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        """Answer a request."""
        pages = await asyncio.to_thread(_pages)
        await pages(scope, receive, send)


@cache
def _pages() -> Any:
    from scan_monitor.app import create_app

    return create_app()


class ScanMonitorPlugin(AirflowPlugin):
    """Makes the pages known to Airflow. The addresses are relative: Airflow may be served below a path."""

    name = "scan_monitor"
    fastapi_apps = ({"app": PagesOnDemand(), "url_prefix": PREFIX, "name": "Scan monitor"},)
    external_views = (
        {
            "name": "Scan monitor",
            "href": f"{PREFIX[1:]}/",
            "destination": "nav",
            "url_route": "scan-monitor",
        },
    )
