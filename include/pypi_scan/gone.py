"""Which projects are gone upstream: bandersnatch keeps their JSON documents, and scans of the past need those.

A project is gone if upstream's list of all projects, as the last sync saw it, does not have it: not if one document was
not found, which happens for a moment, and for good where a project has no release. Each sync decides anew.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from pypi_scan.files import atomic_write

type Gone = dict[str, int]
"""{canonical name: file system time in nanoseconds at the end of the sync that first missed the project}."""


class GoneError(Exception):
    """The file that tells which projects are gone is damaged; the message says what to do."""


def read_gone(path: Path) -> Gone:
    """Return what the last sync noted in the file `path`; nothing before the first. Raises GoneError."""
    try:
        gone: Gone = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GoneError(f"{path} is damaged ({error}); remove it and run pypi_sync, which writes it anew") from error
    return gone


def write_gone(path: Path, gone: Gone) -> None:
    """Note which projects are gone."""
    with atomic_write(path) as file:
        file.write(msgspec.json.encode(gone, order="sorted"))


def still_or_newly_gone(before: Gone, mirrored: Iterable[str], there: Collection[str], now_ns: int) -> Gone:
    """Return which of the `mirrored` projects are not `there` upstream: since `now_ns`, or as noted `before`."""
    return {name: before.get(name, now_ns) for name in mirrored if name not in there}
