"""What the scan of a package will cost, in CPU seconds: what its last scan did cost, or else what others like it do.

Only the division into shards, and what is scanned first, depend on it; no result does. What scans did cost is kept in
a SQLite database, ``<state_dir>/costs.sqlite``, a row a package, which may be removed at any time: costs are then
guessed until scans have measured them again.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from pypi_scan.status import PackageStatus

COSTS = "costs.sqlite"
_LOCK_SECONDS = 60  # that a writer waits for others, each of which takes milliseconds

# Fitted to measured scans of 80 packages, see docs/scaling.md: CPU seconds of a package, and of its bytes.
_A_PACKAGE, _SLOPE, _EXPONENT = 0.05, 1.55e-4, 0.7
_MOST_CHANGE = 4.0  # that a new version is taken to differ from the one that was measured
_OUTLIER = 10.0  # a package that costs so much more or less than guessed says no more about others
_UNCERTAIN = 10.0  # times a guess, which a scan costs in one case of ten or so where the package is large
_PRIOR_SECONDS = 100.0  # of measured scans weigh as much as what was measured for the guess

_SCHEMA = """
CREATE TABLE IF NOT EXISTS scans (
    name TEXT PRIMARY KEY, version TEXT, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    cpu_seconds REAL NOT NULL, peak_memory_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""


class CostsError(Exception):
    """The kept costs cannot be read or written. The message says why and what to do."""


class Measured(NamedTuple):
    """A scan: what it did cost, in CPU seconds, and the number of files it was of and their bytes together."""

    cpu_seconds: float
    files: int
    size: int


class CostModel:
    """Predicts from `history`, which has the last scan of each package that had one, by name."""

    def __init__(self, history: Mapping[str, Measured]) -> None:
        self._history = history
        self._scale = _scale(history.values())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the kept costs; without any the model guesses. Raises CostsError if they are damaged."""
        if not path.exists() or not path.stat().st_size:  # or its first writer is not done
            return cls({})
        with _database(path) as database:
            rows = database.execute("SELECT name, cpu_seconds, files, bytes FROM scans")
            return cls({name: Measured(*measured) for name, *measured in rows})

    def cost(self, name: str, files: int, size: int) -> float:
        """Return the CPU seconds that a scan of a package with so many files of `size` bytes together will take."""
        guess = _guess(files, size)
        last = self._history.get(name)
        if last is None:
            return self._scale * guess
        change = guess / _guess(last.files, last.size)
        return last.cpu_seconds * min(max(change, 1 / _MOST_CHANGE), _MOST_CHANGE)

    def may_cost(self, name: str, files: int, size: int) -> float:
        """Return the CPU seconds that it may well take: of a package that was never scanned, many times the guess.

        What is begun first goes by this, for a costly package that nobody expects is the worst at the end.
        """
        return self.cost(name, files, size) * (1.0 if name in self._history else _UNCERTAIN)


def record_costs(path: Path, statuses: Iterable[PackageStatus]) -> None:
    """Keep what the scans did cost, each in place of an earlier one of its package; what was not scanned is left out.

    Several processes may do so at once. Raises CostsError if what is kept is damaged.
    """
    rows = [
        (status.name, status.version, len(status.files), status.bytes, status.cpu_seconds, status.peak_memory_bytes)
        for status in statuses
        if status.cpu_seconds > 0 and status.status != "reused"
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with _database(path) as database:
        database.execute("BEGIN IMMEDIATE")  # at once: a lock that is only asked for later may be refused
        database.execute(_SCHEMA)
        database.executemany("INSERT OR REPLACE INTO scans VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.execute("COMMIT")


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as database:
            yield database
    except sqlite3.Error as error:
        raise CostsError(
            f"the costs of earlier scans, {path}, cannot be used ({error}); if it is damaged remove it: costs are then "
            "guessed until scans have measured them again"
        ) from error


def _guess(files: int, size: int) -> float:
    """Return the cost of a package of which nothing is known but so many files of `size` bytes together.

    Several files of a release hold mostly the same source, and what is large is mostly data, which costs little.
    """
    return _A_PACKAGE + _SLOPE * math.pow(size / math.sqrt(max(files, 1)), _EXPONENT)


def _scale(history: Iterable[Measured]) -> float:
    """Return by what a guess is to be multiplied, so that the guesses for what was measured agree with it in sum."""
    measured = guessed = _PRIOR_SECONDS
    for scan in history:
        guess = _guess(scan.files, scan.size)
        guessed += guess
        measured += min(max(scan.cpu_seconds, guess / _OUTLIER), guess * _OUTLIER)
    return measured / guessed
