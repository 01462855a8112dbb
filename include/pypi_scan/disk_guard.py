"""Stops a sync before the disk is full: a full disk leaves nothing to put things right with."""

import os
from dataclasses import dataclass
from pathlib import Path

from pypi_scan.sync_errors import SyncError

_MIN_FREE_INODES = 10_000


@dataclass(frozen=True)
class DiskGuard:
    """Watches the file system of `directory`, which shall keep `min_free_gb` (10^9 bytes) and some inodes free."""

    directory: Path
    min_free_gb: float

    def check(self) -> None:
        """Raise SyncError if less is free."""
        stat = os.statvfs(self.directory)
        free_gb = stat.f_bavail * stat.f_frsize / 1e9
        if free_gb < self.min_free_gb:
            raise SyncError(
                f"only {free_gb:.1f} GB are free on the mirror's disk, {self.directory}, and PYPI_SCAN_MIN_FREE_GB "
                f"says that {self.min_free_gb:g} must stay: free some or lower it; the next sync takes up what is left"
            )
        if stat.f_files and stat.f_favail < _MIN_FREE_INODES:  # file systems that have no such limit say 0
            raise SyncError(
                f"only {stat.f_favail} inodes are free on the mirror's disk, {self.directory}: remove files or enlarge "
                "it; the next sync takes up what is left"
            )
