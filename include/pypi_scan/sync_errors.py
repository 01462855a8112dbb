"""What can go wrong with a sync as a whole."""


class SyncError(Exception):
    """The mirror was not brought up to date; it is as consistent as before. The message says why."""


class SyncRunningError(SyncError):
    """Something else that writes to the mirror holds its lock."""
