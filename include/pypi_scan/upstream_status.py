"""Prints the status that projects have upstream (PEP 792): ``upstream_status.py bandersnatch.conf``.

Standard input holds a JSON list of canonical names; what is printed is a JSON object: ``statuses``, {name: {"status",
"reason"}} of the projects that upstream knows, and ``not_told``, the names that upstream failed to answer for. An
upstream that does not tell statuses, or has no JSON pages (PEP 691), has active projects only.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientResponseError
from bandersnatch.configuration import BandersnatchConfig

from pypi_scan.upstream import upstream

_AT_ONCE = 10
_PEP_691 = "application/vnd.pypi.simple.v1+json"
_ACTIVE = {"status": "active", "reason": ""}


async def upstream_statuses(config_file: Path, names: list[str]) -> dict[str, Any]:
    """Return what is to be printed."""
    config = BandersnatchConfig(config_file)["mirror"]
    statuses: dict[str, Any] = {}
    not_told: list[str] = []
    left = iter(names)

    async def ask_for_some() -> None:
        for name in left:
            try:
                status = await _status(master, name)
            except (ClientError, TimeoutError, ValueError):
                not_told.append(name)
            else:
                if status is not None:
                    statuses[name] = status

    async with upstream(config) as master:
        await asyncio.gather(*(ask_for_some() for _ in range(_AT_ONCE)))
    return {"statuses": statuses, "not_told": not_told}


async def _status(master: Any, name: str) -> dict[str, str] | None:
    """Return the status of a project, None if upstream has no such project."""
    url = f"{master.url}/simple/{name}/"
    try:
        async with master.session.get(url, headers={"Accept": _PEP_691}) as response:
            page = await response.json(content_type=None) if response.content_type == _PEP_691 else {}
    except ClientResponseError as error:
        if error.status == 404:
            return None
        if error.status == 406:
            return _ACTIVE
        raise
    told = page.get("project-status") if isinstance(page, dict) else None
    if not isinstance(told, dict):
        return _ACTIVE
    return {"status": str(told.get("status", "active")), "reason": str(told.get("reason") or "")}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(upstream_statuses(Path(sys.argv[1]), json.load(sys.stdin)))))
