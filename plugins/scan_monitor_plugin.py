"""The scan monitor in Airflow's UI: an entry of the menu, a tab on each DAG run, a link on each task of a shard."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

_PREFIX = "scan-monitor"
_IN_MENU = "scan-monitor"  # what the UI names the page in its own addresses, before that of the page

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


class ScanMonitorLink(BaseOperatorLink):
    """Leads from the task of a shard to the shard on the page of its scan."""

    name = "Scan monitor"

    @property
    def operators(self) -> list[type]:
        """The operators that have the link; only the API server asks, and importing them takes long."""
        from worker_jobs.job_operator import CollectOperator, PrefetchOperator, ScanOperator

        return [PrefetchOperator, ScanOperator, CollectOperator]

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address within Airflow's UI, relative as those below."""
        run = f"{ti_key.dag_id}/{quote(ti_key.run_id, safe='')}"
        return f"plugin/{_IN_MENU}/{_PREFIX}/runs/{run}?map_index={ti_key.map_index}"


class ScanMonitorPlugin(AirflowPlugin):
    """Makes the pages known to Airflow. Addresses are relative to where Airflow is served, which may be below a path.

    Airflow shows a tab on the runs of every DAG, if on any: the page says so where there is no scan.
    """

    name = "scan_monitor"
    fastapi_apps = ({"app": PagesOnDemand(), "url_prefix": f"/{_PREFIX}", "name": "Scan monitor"},)
    external_views = (
        {
            "name": "Scans",
            "href": f"{_PREFIX}/",
            "destination": "nav",
            "url_route": _IN_MENU,
        },
        {
            "name": "Scan monitor",
            "href": f"{_PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "scan-monitor-of-run",
        },
    )
    operator_extra_links = (ScanMonitorLink(),)
