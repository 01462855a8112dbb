"""The detections of a scan, filtered, sorted and paged, from ``detections.parquet``.

A page is asked for in two steps, so that hundreds of millions of detections do not matter: which rows, from the few
columns that are filtered and sorted by, then those rows. The row groups that can hold them are few, as detections are
sorted by type, and as the counts of each kind, taken once a file, say which types and scores there are.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

from pypi_scan.editions.database import quoted
from pypi_scan.monitor.parquet_queries import EditionError, ask, stream

type Sort = Literal["score", "package", "type"]

PAGE_ROWS = 100
SORTS: tuple[Sort, ...] = get_args(Sort.__value__)
COUNTED = 10_000  # what cannot be told from the kinds is counted this far
_MOST_KINDS = 50_000
_MOST_TEXT = 500  # characters of a filter
_SHOWN = 400  # characters of a message, of a line of source, and of a tag, of which so many are shown
_EXPORTED = 10_000
_LOCATION = 4096  # characters; a longer one is in no file
_ROW = "file_row_number"  # DuckDB's name of it: rows count from 0, in order of type, package, and number in the record
_ORDERS: dict[Sort, str] = {"score": f"score DESC, {_ROW}", "package": f"package, {_ROW}", "type": _ROW}
_KEYS: dict[Sort, str] = {"score": "score", "package": "package", "type": "type"}
_AFTER: dict[Sort, str] = {
    "score": f"score <= $key AND (score < $key OR {_ROW} > $row)",
    "package": f"package >= $key AND (package > $key OR {_ROW} > $row)",
    "type": f"type >= $key AND {_ROW} > $row",
}
_COLUMNS = f"""
    package, version, type, severity, score, left(message, {{most}}), left(location, {_LOCATION}), line_no,
    left(line, {{most}}), list_transform(tags[:{{most}}], lambda tag: left(tag, {{most}}))
"""


class FilterError(ValueError):
    """What is asked for cannot be asked for; the message says what can."""


class Finding(NamedTuple):
    """A detection; `line` is line `line_no` of the file at `location`, as its author wrote it. Long texts are cut."""

    package: str
    version: str
    type: str
    severity: str
    score: float
    message: str
    location: str | None
    line_no: int | None
    line: str | None
    tags: list[str]


class Kind(NamedTuple):
    """How many detections of a scan have these in common."""

    type: str
    severity: str
    score: float
    tags: tuple[str, ...]
    number: int


class After(NamedTuple):
    """The last row of a page: by what the rows are sorted, and its number in the file."""

    key: str | float
    row: int


class Page(NamedTuple):
    """Some findings, and where the next page begins."""

    findings: list[Finding]
    after: After | None


class Total(NamedTuple):
    """How many findings there are; if it is not `exact`, there are more."""

    number: int
    exact: bool


@dataclass(frozen=True)
class Filter:
    """What findings are asked for; an empty text means any. `package` is the start of a name, in any spelling."""

    type: str = ""
    tag: str = ""
    severity: str = ""
    min_score: int = 0
    package: str = ""

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self:
        """Return the filter that the query of a URL stands for; raises FilterError."""
        texts = {name: query.get(name, "").strip() for name in ("type", "tag", "severity", "package")}
        for name, text in texts.items():
            if len(text) > _MOST_TEXT:
                raise FilterError(f"{name} has over {_MOST_TEXT} characters: nothing is called like that")
        score = query.get("min_score", "").strip() or "0"
        if not re.fullmatch(r"\d{1,9}", score, re.ASCII):
            raise FilterError("min_score is a whole number from 0 to 999999999")
        return cls(min_score=int(score), **texts)

    @property
    def prefix(self) -> str:
        """The start of the canonical name."""
        return re.sub(r"[-_.]+", "-", self.package).lower()

    def matches(self, kind: Kind) -> bool:
        """Return whether detections of this kind are asked for, whatever their package."""
        return (
            self.type in ("", kind.type)
            and self.severity in ("", kind.severity)
            and (not self.tag or self.tag in kind.tags)
            and kind.score >= self.min_score
        )


def parse_sort(query: Mapping[str, str]) -> Sort:
    """Return what the query of a URL asks to sort by, the score if nothing; raises FilterError."""
    asked = query.get("sort", "") or "score"
    for sort in SORTS:
        if sort == asked:
            return sort
    raise FilterError(f"sort is one of {', '.join(SORTS)}")


def parse_after(query: Mapping[str, str], sort: Sort) -> After | None:
    """Return the row after which the page begins that the query of a URL asks for; raises FilterError."""
    row, key = query.get("row", ""), query.get("key", "")
    if not row:
        return None
    if not re.fullmatch(r"\d{1,15}", row, re.ASCII) or len(key) > _MOST_TEXT:
        raise FilterError("that is no address of a page: begin with the first one")
    try:
        return After(float(key) if sort == "score" else key, int(row))
    except ValueError:
        raise FilterError("that is no address of a page: begin with the first one") from None


def kinds(detections: Path) -> tuple[Kind, ...]:
    """Return the kinds of detections, the most frequent first. Reads the file when it is new. Raises EditionError."""
    try:
        stat = detections.stat()
    except OSError as error:
        raise EditionError(f"{detections} cannot be read: {error}; clear the task pack of that scan") from error
    return _kinds(detections, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _kinds(detections: Path, _modified: int, _size: int) -> tuple[Kind, ...]:
    rows = ask(
        detections,
        f"SELECT type, severity, score, tags, count(*) AS number FROM read_parquet({quoted(detections)}) "
        f"GROUP BY type, severity, score, tags ORDER BY number DESC, type, severity, score, tags "
        f"LIMIT {_MOST_KINDS + 1}",
    )
    if len(rows) > _MOST_KINDS:
        raise EditionError(
            f"{detections} has over {_MOST_KINDS} kinds of detections, which no scanner has: look at who scanned"
        )
    return tuple(Kind(kind, severity, score, tuple(tags), number) for kind, severity, score, tags, number in rows)


def total(detections: Path, wanted: Filter) -> Total:
    """Return how many findings there are; raises EditionError."""
    if not wanted.prefix:
        return Total(sum(kind.number for kind in kinds(detections) if wanted.matches(kind)), True)
    condition, parameters = _condition(detections, wanted)
    ((number,),) = ask(
        detections,
        f"SELECT count(*) FROM (SELECT 1 FROM {_table(detections)} WHERE {condition} LIMIT {COUNTED + 1})",
        parameters,
    )
    return Total(min(number, COUNTED), number <= COUNTED)


def find(detections: Path, wanted: Filter, sort: Sort = "score", after: After | None = None) -> Page:
    """Return the page of findings that begins after a row; raises EditionError."""
    if sort == "score" and not wanted.prefix:
        rows = _rows_by_score(detections, wanted, after)
    else:
        rows = _rows(detections, wanted, sort, after)
    shown = rows[:PAGE_ROWS]
    last = After(shown[-1].key, shown[-1].row) if len(rows) > PAGE_ROWS else None
    return Page(_at(detections, [row.row for row in shown]), last)


def export(detections: Path, wanted: Filter) -> Iterator[Finding]:
    """Yield all findings, by type and package; raises EditionError."""
    condition, parameters = _condition(detections, wanted)
    columns = _COLUMNS.format(most=_EXPORTED)
    rows = stream(detections, f"SELECT {columns} FROM {_table(detections)} WHERE {condition}", parameters)
    return (Finding(*row) for row in rows)


def choices(possible: Iterable[Kind], wanted: Filter) -> dict[str, dict[str, int]]:
    """Return for each of type, severity and tag: value -> number of detections, were it asked for instead.

    Values that are too long to be asked for are left out.
    """
    found: dict[str, dict[str, int]] = {"type": {}, "severity": {}, "tag": {}}
    instead = {name: _without(wanted, name) for name in found}
    for kind in possible:
        values = {"type": [kind.type], "severity": [kind.severity], "tag": kind.tags}
        for name, counts in found.items():
            if instead[name].matches(kind):
                for value in {value for value in values[name] if len(value) <= _MOST_TEXT}:
                    counts[value] = counts.get(value, 0) + kind.number
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}


def _without(wanted: Filter, name: str) -> Filter:
    return Filter(**{**vars(wanted), name: ""})


def _rows_by_score(detections: Path, wanted: Filter, after: After | None) -> list[After]:
    """Return what `_rows` does, without sorting millions that have the same score.

    First come the others of the last page's score, then all of as many scores as there is room for, then of the next
    score those that lie first: how many have which score is known.
    """
    number_of: Counter[float] = Counter()
    for kind in kinds(detections):
        if wanted.matches(kind):
            number_of[kind.score] += kind.number
    found: list[After] = []
    scores = sorted(number_of, reverse=True)
    if after:
        last = float(after.key)
        found = [After(last, row) for _, row in _rows(detections, wanted, "type", After("", after.row), {last})]
        scores = [score for score in scores if score < last]
    whole, room = 0, PAGE_ROWS + 1 - len(found)
    while whole < len(scores) and number_of[scores[whole]] <= room:
        room -= number_of[scores[whole]]
        whole += 1
    if whole:
        found += _rows(detections, wanted, "score", None, set(scores[:whole]))
    if room and whole < len(scores):
        score = scores[whole]
        found += [After(score, row) for _, row in _rows(detections, wanted, "type", None, {score})]
    return found


def _rows(
    detections: Path, wanted: Filter, sort: Sort, after: After | None, scores: Set[float] | None = None
) -> list[After]:
    """Return the rows of a page, and one more if there is another page; those of these `scores` alone if given."""
    condition, parameters = _condition(detections, wanted, scores)
    if after:
        condition += f" AND {_AFTER[sort]}"
        parameters |= {"key": after.key, "row": after.row}
    rows = ask(
        detections,
        f"SELECT {_KEYS[sort]}, {_ROW} FROM {_table(detections)} WHERE {condition} "
        f"ORDER BY {_ORDERS[sort]} LIMIT {PAGE_ROWS + 1}",
        parameters,
    )
    return [After(*row) for row in rows]


def _condition(detections: Path, wanted: Filter, scores: Set[float] | None = None) -> tuple[str, dict[str, object]]:
    """Return the SQL of a filter, with its parameters; it names the types and scores that let row groups be skipped."""
    every = kinds(detections)
    matching = [kind for kind in every if wanted.matches(kind) and (scores is None or kind.score in scores)]
    if not matching:
        return "false", {}
    parts: list[str] = ["true"]
    parameters: dict[str, object] = {}
    types = sorted({kind.type for kind in matching})
    if len(types) < len({kind.type for kind in every}):
        parameters = {f"type{number}": name for number, name in enumerate(types)}
        parts.append(f"type IN ({', '.join(f'${name}' for name in parameters)})")
    if scores is not None or wanted.min_score:
        parts.append("score BETWEEN $lowest AND $highest")
        parameters |= {
            "lowest": min(kind.score for kind in matching),
            "highest": max(kind.score for kind in matching),
        }
    if wanted.severity:
        parts.append("severity = $severity")
        parameters["severity"] = wanted.severity
    if wanted.tag:
        parts.append("list_contains(tags, $tag)")
        parameters["tag"] = wanted.tag
    if wanted.prefix:
        parts.append("package >= $prefix AND package < $prefix || chr(1114111)")
        parameters["prefix"] = wanted.prefix
    return " AND ".join(parts), parameters


def _table(detections: Path) -> str:
    return f"read_parquet({quoted(detections)}, file_row_number = true)"


def _at(detections: Path, numbers: list[int]) -> list[Finding]:
    """Return the rows of these numbers, in this order."""
    if not numbers:
        return []
    rows = ask(
        detections,
        f"SELECT {_ROW}, {_COLUMNS.format(most=_SHOWN)} FROM {_table(detections)} "
        f"WHERE {_ROW} IN ({', '.join(map(str, numbers))})",
    )
    found = {row[0]: Finding(*row[1:]) for row in rows}
    return [found[number] for number in numbers]
