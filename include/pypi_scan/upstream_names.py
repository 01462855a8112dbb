"""Prints the canonical names of all projects that upstream lists, one a line: ``upstream_names.py bandersnatch.conf``.

bandersnatch asks upstream for this list in every sync, but does not tell which projects are no longer in it. It is no
library with a stable interface: what is used of it is used here, in a process that may fail.
"""

import asyncio
import sys
from pathlib import Path

from bandersnatch.configuration import BandersnatchConfig

from pypi_scan.names import HostileInputError, canonical_name
from pypi_scan.upstream import upstream


async def listed_names(config_file: Path) -> set[str]:
    """Return the canonical names that bandersnatch with this configuration finds upstream; what is no name is skipped.

    Raises what aiohttp raises, and SystemExit if the list is empty: nobody deletes all projects.
    """
    config = BandersnatchConfig(config_file)["mirror"]
    async with upstream(config) as master:
        listed = await master.all_packages()
    if not listed:
        sys.exit(f"{config['master']} lists no project at all")
    names = set()
    for name in listed:
        try:
            names.add(canonical_name(name))
        except HostileInputError:
            continue  # the mirror has no such project either
    return names


if __name__ == "__main__":
    print(*sorted(asyncio.run(listed_names(Path(sys.argv[1])))), sep="\n")
