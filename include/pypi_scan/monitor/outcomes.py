"""How the packages of a scan ended: of a packed scan by its Parquet edition, of one that runs by what was collected."""

import heapq
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from pypi_scan.editions.columns import PACKAGES
from pypi_scan.editions.database import duckdb_session, quoted
from pypi_scan.monitor.file_cache import FileCache
from pypi_scan.results import STATUSES, ResultsError, read_statuses
from pypi_scan.status import COMPLETE, PackageStatus

TOP = 10  # packages of a list
_EXAMPLES = 5  # packages of a reason
_REASONS = 40
_GROUP_CHARACTERS = 200
# What differs from package to package in the same reason: paths, and numbers.
_PATHS, _NUMBERS = r"packages/\S+", r"\d+([.,]\d+)*"


class PackageCost(NamedTuple):
    """What the scan of a package took; `bytes` are those of its distribution files."""

    package: str
    version: str | None
    status: str
    seconds: float
    peak_memory_bytes: int
    bytes: int


class Example(NamedTuple):
    """A package, and in its scanner's words why it has no complete record."""

    package: str
    reason: str


class Failure(NamedTuple):
    """A reason, without what differs from package to package, the number of packages it holds for, and some of them."""

    status: str
    reason: str
    packages: int
    examples: Sequence[Example]


class Outcomes(NamedTuple):
    """Packages by status, those that took longest and the largest ones, the most frequent reasons for failures.

    They are of `packages` packages; what `unread` files tell is not among them yet.
    """

    by_status: dict[str, int]
    slowest: Sequence[PackageCost]
    largest: Sequence[PackageCost]
    failures: Sequence[Failure]
    unread: int = 0

    @property
    def packages(self) -> int:
        """All packages that it tells of."""
        return sum(self.by_status.values())


def dataset_outcomes(dataset: Path, by_status: dict[str, int], seconds: float) -> Outcomes:
    """Return the outcomes of a packed scan; `by_status` alone, as its manifest has it, if that takes over `seconds`.

    The next call may have all of them.
    """
    read, unread = _of_dataset.get_soon([dataset / PACKAGES], seconds)
    return read[0] if read else Outcomes(by_status, [], [], [], unread)


def shard_outcomes(results: Iterable[Path], seconds: float) -> Outcomes:
    """Return the outcomes of the shards whose results lie in these directories, as far as they are read by then."""
    read, unread = _of_shard.get_soon((directory / STATUSES for directory in results), seconds)
    return _merged(read, unread)


def reason_group(reason: str) -> str:
    """Return a reason without what differs from package to package."""
    return re.sub(_NUMBERS, "N", re.sub(_PATHS, "…", reason))[:_GROUP_CHARACTERS]


def _read_shard(path: Path) -> Outcomes:
    statuses = list(read_statuses(path.parent))
    failures: dict[tuple[str, str], list[Example]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for status in statuses:
        if status.status not in COMPLETE:
            key = status.status, reason_group(status.reason or "")
            counts[key] += 1
            if counts[key] <= _EXAMPLES:
                failures.setdefault(key, []).append(Example(status.name, status.reason or ""))
    costs = [_cost(status) for status in statuses]
    return Outcomes(
        dict(Counter(status.status for status in statuses)),
        _slowest(costs),
        _largest(costs),
        [Failure(*key, number, failures[key]) for key, number in counts.most_common(_REASONS)],
    )


def _merged(read: Sequence[Outcomes], unread: int) -> Outcomes:
    by_status: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[Example]] = {}
    for one in read:
        by_status.update(one.by_status)
        for failure in one.failures:
            key = failure.status, failure.reason
            counts[key] += failure.packages
            kept = examples.setdefault(key, [])
            kept.extend(failure.examples[: _EXAMPLES - len(kept)])
    return Outcomes(
        _by_number(by_status),
        _slowest(cost for one in read for cost in one.slowest),
        _largest(cost for one in read for cost in one.largest),
        [Failure(*key, number, examples[key]) for key, number in counts.most_common(_REASONS)],
        unread,
    )


def _cost(status: PackageStatus) -> PackageCost:
    return PackageCost(
        status.name, status.version, status.status, status.seconds, status.peak_memory_bytes, status.bytes
    )


def _slowest(costs: Iterable[PackageCost]) -> list[PackageCost]:
    scanned = (cost for cost in costs if cost.status != "reused")  # its seconds are of an earlier scan
    return heapq.nlargest(TOP, scanned, key=lambda cost: cost.seconds)


def _largest(costs: Iterable[PackageCost]) -> list[PackageCost]:
    return heapq.nlargest(TOP, costs, key=lambda cost: cost.bytes)


def _by_number(by_status: Counter[str]) -> dict[str, int]:
    return dict(by_status.most_common())


_BY_STATUS = "SELECT status, count(*) AS packages FROM rows GROUP BY status ORDER BY packages DESC, status"
# Without parameters: DuckDB sorts all rows if the limit is one, and imports pandas and pyarrow to look at their types.
_COSTS = "SELECT package, version, status, seconds, peak_memory_bytes, bytes FROM rows"
_SLOWEST = f"{_COSTS} WHERE status <> 'reused' ORDER BY seconds DESC, package LIMIT {TOP}"
_LARGEST = f"{_COSTS} ORDER BY bytes DESC, package LIMIT {TOP}"
_FAILURES = f"""
    SELECT status,
        left(regexp_replace(regexp_replace(coalesce(reason, ''), '{_PATHS}', '…', 'g'), '{_NUMBERS}', 'N', 'g'),
            {_GROUP_CHARACTERS}) AS reason_group,
        count(*) AS packages,
        list([package, coalesce(reason, '')] ORDER BY package)[:{_EXAMPLES}] AS examples
    FROM rows WHERE status NOT IN {COMPLETE}
    GROUP BY ALL ORDER BY packages DESC, status, reason_group LIMIT {_REASONS}
"""


def _read_dataset(path: Path) -> Outcomes:
    with tempfile.TemporaryDirectory(prefix="monitor-") as spill, duckdb_session(Path(spill)) as database:
        database.execute(f"CREATE VIEW rows AS FROM read_parquet({quoted(path)})")

        def rows(query: str) -> list[tuple[Any, ...]]:
            return database.execute(query).fetchall()

        return Outcomes(
            dict(rows(_BY_STATUS)),
            [PackageCost(*row) for row in rows(_SLOWEST)],
            [PackageCost(*row) for row in rows(_LARGEST)],
            [
                Failure(status, group, packages, [Example(*example) for example in examples])
                for status, group, packages, examples in rows(_FAILURES)
            ],
        )


_of_shard = FileCache(_read_shard, size=2000, failures=(ResultsError,))
_of_dataset = FileCache(_read_dataset, size=20, failures=(duckdb.Error,))
