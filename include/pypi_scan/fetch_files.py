"""Fetches files of the mirror again: ``fetch_files.py bandersnatch.conf``.

Standard input holds a JSON list of files as `pypi_scan.expected_files` describes them; what is printed is a JSON
object, {path: why it could not be had}. bandersnatch writes a file under another name, and replaces the one that is
there only when its digest is right.
"""

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientError
from bandersnatch.configuration import BandersnatchConfig
from bandersnatch.mirror import fetch_and_store
from bandersnatch.storage import storage_backend_plugins

from pypi_scan.upstream import upstream


async def fetch_files(config_file: Path, files: list[dict[str, Any]]) -> dict[str, str]:
    """Return what is to be printed."""
    config = BandersnatchConfig(config_file)
    web = Path(config["mirror"]["directory"]) / "web"
    storage = next(iter(storage_backend_plugins(config=config)))
    failed = {}
    async with upstream(config["mirror"]) as master:
        for file in files:
            uploaded = datetime.fromisoformat(file["upload_time"])
            target = web / file["path"]
            try:
                await fetch_and_store(
                    master, storage, file["url"], target, file["digest"], uploaded, digest_name=file["algorithm"]
                )
            except (ClientError, OSError, TimeoutError, ValueError) as error:
                failed[file["path"]] = f"{type(error).__name__}: {error}"[:500]
    return failed


if __name__ == "__main__":
    json.dump(asyncio.run(fetch_files(Path(sys.argv[1]), json.load(sys.stdin))), sys.stdout)
