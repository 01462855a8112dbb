"""Prints what bandersnatch would have to sync: ``upstream_backlog.py bandersnatch.conf``.

The first line is the serial that the mirror would reach, each other line is a package's name, as upstream spells it,
and its serial: the format of bandersnatch's ``todo``. bandersnatch itself asks upstream, applies its filters and makes
the mirror's directories; what it logs goes to standard error. It is no library with a stable interface: what is used of
it is used here, in a process that may fail.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from bandersnatch.configuration import BandersnatchConfig
from bandersnatch.log import setup_logging
from bandersnatch.mirror import BandersnatchMirror

from pypi_scan.upstream import upstream


async def backlog(config_file: Path) -> tuple[int, dict[str, int]]:
    """Return the serial to reach, and name -> serial of the packages to sync; raises what aiohttp raises."""
    config = BandersnatchConfig(config_file)["mirror"]
    async with upstream(config) as master:
        mirror = BandersnatchMirror(Path(config["directory"]), master, json_save=True)
        await mirror.determine_packages_to_sync()
    return int(mirror.target_serial or 0), {name: int(serial) for name, serial in mirror.packages_to_sync.items()}


if __name__ == "__main__":
    setup_logging(argparse.Namespace(debug=False))
    target_serial, packages = asyncio.run(backlog(Path(sys.argv[1])))
    print(target_serial, *(f"{name} {serial}" for name, serial in packages.items()), sep="\n")
