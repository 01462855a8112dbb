"""The fleet of a scan in a file, ``<scans_dir>/<scan_id>/fleet.json``, for the many processes that decide by it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pypi_scan.files import atomic_write
from pypi_scan.fleet import Fleet

FLEET = "fleet.json"


class FleetFileError(Exception):
    """The file of a fleet cannot be read. The message says what to do."""


@contextmanager
def open_fleet(scan_dir: Path) -> Iterator[Fleet]:
    """Yield the fleet of a scan, empty at first, and write it back when the block ends; others wait until then.

    What was changed before an exception is kept. Raises FleetFileError if the file is damaged.
    """
    path = scan_dir / FLEET
    with (scan_dir / f".{FLEET}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            before = path.read_bytes()
            fleet = msgspec.json.decode(before, type=Fleet)
        except FileNotFoundError:
            before, fleet = b"", Fleet()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FleetFileError(f"{path} is damaged ({error}); remove it, then clear the task prepare") from error
        try:
            yield fleet
        finally:
            after = msgspec.json.encode(fleet)
            if after != before:
                with atomic_write(path) as file:
                    file.write(after)
