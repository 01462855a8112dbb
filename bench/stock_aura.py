# SPDX-License-Identifier: GPL-3.0-or-later
"""The `aura` command of Aura 2.1 as it is, behind the least that lets it start and finish on a machine without network.

usage: stock_aura.py USAGE_FILE COMMAND...

Runs ``aura COMMAND...``. When it ends, USAGE_FILE holds what it took, and what it called the directories it unpacked
archives into, which have random names.
"""

import atexit
import json
import mimetypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pkg_resources

_iter_entry_points = pkg_resources.iter_entry_points


def _entry_points(group: str, name: str | None = None) -> Iterator[Any]:
    # The output plugin for SQLite raises on import with a current SQLite, and takes every other output with it.
    return (found for found in _iter_entry_points(group, name) if found.module_name != "aura.output.sqlite")


pkg_resources.iter_entry_points = _entry_points

from aura import cache, cli, github  # noqa: E402
from aura.exceptions import NoSuchRepository  # noqa: E402
from aura.uri_handlers.base import ScanLocation  # noqa: E402
from requests.exceptions import HTTPError  # noqa: E402

_unpacked: dict[str, str] = {}
_do_cleanup = ScanLocation.do_cleanup


def _no_page(**_: object) -> NoReturn:
    raise HTTPError("no network")  # Aura takes it for "no such package"


def _no_repository(url: str) -> NoReturn:
    raise NoSuchRepository(url)  # anything else ends the scan of a package with a GitHub URL


def _note_and_clean_up(location: Any) -> None:
    if location.cleanup:
        _unpacked[location.location.name] = str(location).removesuffix("$.")
    _do_cleanup(location)


def _leave_usage(path: Path) -> None:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    content = {
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in usage), 3),
        "peak_memory_bytes": max(one.ru_maxrss for one in usage) * 1024,
        "unpacked": _unpacked,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    cache.URLCache.proxy = _no_page
    github.GitHub.from_url = _no_repository
    ScanLocation.do_cleanup = _note_and_clean_up
    mimetypes.init(files=[])  # the table of the machine would make other MIME types of the same files
    atexit.register(_leave_usage, Path(sys.argv.pop(1)))
    cli.main()
