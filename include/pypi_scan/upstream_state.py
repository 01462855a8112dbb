"""Prints what upstream has, and what of it bandersnatch would have to sync: ``upstream_state.py bandersnatch.conf``.

A JSON object: ``serial``, which the mirror would reach; ``backlog``, name as upstream spells it -> serial of the
packages to sync; ``listed``, the canonical names of all projects. bandersnatch itself asks upstream, once, applies its
filters and makes the mirror's directories; what it logs goes to standard error.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bandersnatch.configuration import BandersnatchConfig
from bandersnatch.log import setup_logging
from bandersnatch.mirror import BandersnatchMirror

from pypi_scan.names import HostileInputError, canonical_name
from pypi_scan.upstream import upstream


async def upstream_state(config_file: Path) -> dict[str, Any]:
    """Return what is to be printed; raises what aiohttp raises, and SystemExit if upstream lists nothing.

    Nobody deletes all projects. What is no project name is not listed: the mirror has no such project either.
    """
    config = BandersnatchConfig(config_file)["mirror"]
    async with upstream(config) as master:
        index = await master.fetch_simple_index()

        async def fetched() -> Any:
            return index

        master.fetch_simple_index = fetched
        listed = await master.all_packages()
        mirror = BandersnatchMirror(Path(config["directory"]), master, json_save=True)
        await mirror.determine_packages_to_sync()
    if not listed:
        sys.exit(f"{config['master']} lists no project at all")
    backlog = {name: int(serial) for name, serial in mirror.packages_to_sync.items()}
    return {"serial": int(mirror.target_serial or 0), "backlog": backlog, "listed": sorted(_canonical(listed))}


def _canonical(names: Any) -> set[str]:
    canonical = set()
    for name in names:
        try:
            canonical.add(canonical_name(name))
        except HostileInputError:
            continue
    return canonical


if __name__ == "__main__":
    setup_logging(argparse.Namespace(debug=False))
    json.dump(asyncio.run(upstream_state(Path(sys.argv[1]))), sys.stdout)
