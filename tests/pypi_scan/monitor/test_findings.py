"""Findings are what a plain reading of all records gives, however they are filtered, sorted, paged or exported."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pypi_scan.monitor import findings
from pypi_scan.monitor.findings import (
    After,
    Filter,
    FilterError,
    Finding,
    Sort,
    choices,
    export,
    find,
    kinds,
    parse_after,
    parse_sort,
    total,
)
from pypi_scan.monitor.parquet_queries import EditionError

from .conftest import detection

PACKAGES = [f"{start}-{number}" for start in ("alpha", "alphabet", "beta", "gamma-ray") for number in range(12)]
TYPES = ["ASTPattern", "FunctionCall", "ModuleImport", 'It\'s "odd" <b>']
SEVERITIES = ["unknown", "low", "high", "critical"]
TAGS = ["network", "sql", "it's", "]; DROP"]
HOSTILE = "'); DROP TABLE x; -- <script>alert(1)</script> =cmd()\u202e"


@pytest.fixture(scope="session")
def drawn() -> dict[str, list[dict[str, Any]]]:
    """Detections of packages, some with none."""
    draw = random.Random(7)

    def one(name: str, number: int) -> dict[str, Any]:
        return detection(
            name,
            type=draw.choice(TYPES),
            severity=draw.choice(SEVERITIES),
            score=draw.choice([0, 0, 0, 0, 5, 10, 50, 100, 3]),
            tags=draw.choice([[], [], ["network"], ["network", "it's", "it's"], ["]; DROP"], ["sql"]]),
            line_no=number,
            line=HOSTILE,
            signature=f"x#{number}",
        )

    return {name: [one(name, number) for number in range(draw.choice([0, 1, 5, 30]))] for name in PACKAGES}


@pytest.fixture
def detections(add_scan: Callable[..., Path], drawn: dict[str, list[dict[str, Any]]]) -> Path:
    """The edition with the drawn detections."""
    return add_scan("2026-11-01", {name: ("1.0", found) for name, found in drawn.items()}) / "detections.parquet"


def naive(drawn: dict[str, list[dict[str, Any]]], wanted: Filter) -> list[tuple[str, str, int]]:
    """The findings that a filter asks for, as (type, package, line)."""
    return sorted(
        (one["type"], name, one["line_no"])
        for name, found in drawn.items()
        for one in found
        if wanted.type in ("", one["type"])
        and wanted.severity in ("", one["severity"])
        and (not wanted.tag or wanted.tag in one["tags"])
        and one["score"] >= wanted.min_score
        and name.startswith(wanted.package)
    )


def plain(found: list[Finding]) -> list[tuple[str, str, int | None]]:
    return [(one.type, one.package, one.line_no) for one in found]


def every_page(detections: Path, wanted: Filter, sort: Sort) -> list[Finding]:
    page = find(detections, wanted, sort)
    found = page.findings
    while page.after:
        page = find(detections, wanted, sort, page.after)
        assert page.findings
        found += page.findings
    return found


filters = st.builds(
    Filter,
    type=st.sampled_from(["", *TYPES, "Nothing"]),
    tag=st.sampled_from(["", *TAGS, "nothing"]),
    severity=st.sampled_from(["", *SEVERITIES]),
    min_score=st.sampled_from([0, 0, 1, 3, 10, 100, 101]),
    package=st.sampled_from(["", "", "alpha", "alphab", "b", "gamma-ray-1", HOSTILE]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=filters, sort=st.sampled_from(findings.SORTS), rows=st.sampled_from([3, 40, 1000]))
def test_pages_together_are_what_every_record_read_gives(
    detections: Path, drawn: dict[str, list[dict[str, Any]]], wanted: Filter, sort: Sort, rows: int
) -> None:
    expected = naive(drawn, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "PAGE_ROWS", rows)
        found = every_page(detections, wanted, sort)
    assert sorted(plain(found)) == expected
    keys: dict[Sort, Callable[[Finding], Any]] = {
        "score": lambda one: -one.score,
        "package": lambda one: one.package,
        "type": lambda one: (one.type, one.package),
    }
    assert found == sorted(found, key=keys[sort])
    number, exact = total(detections, wanted)
    assert (number, exact) == (len(expected), True)
    assert sorted(plain(list(export(detections, wanted)))) == expected


def test_more_than_can_be_counted_cheaply_is_said(detections: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "COUNTED", 3)
    assert total(detections, Filter(package="alpha")) == (3, False)


def test_text_of_packages_comes_back_as_it_is_but_not_without_end(add_scan: Callable[..., Path]) -> None:
    long = detection("x", line="x" * 1_000_000, message="m" * 1_000_000)
    dataset = add_scan("2026-11-01", {"x": ("1.0", [detection("x", line=HOSTILE), long])})
    first, second = sorted(find(dataset / "detections.parquet", Filter()).findings, key=lambda one: len(one.message))
    assert first.line == HOSTILE
    assert second.line is not None
    assert max(len(second.line), len(second.message)) < 1000
    assert sum(len(one.line or "") for one in export(dataset / "detections.parquet", Filter())) < 100_000


def test_choices_tell_what_each_would_give(detections: Path, drawn: dict[str, list[dict[str, Any]]]) -> None:
    wanted = Filter(type="ModuleImport", severity="high")
    found = choices(kinds(detections), wanted)
    assert set(found["type"]) == set(TYPES)
    for name, counts in found.items():
        for value, number in counts.items():
            assert number == len(naive(drawn, Filter(**{**vars(wanted), name: value})))


def test_another_file_in_its_place_is_read_anew(add_scan: Callable[..., Path]) -> None:
    first = add_scan("2026-10-01", {"x": ("1.0", [detection()])}) / "detections.parquet"
    assert total(first, Filter()).number == 1
    second = add_scan("2026-11-01", {"x": ("1.0", [detection(), detection(line_no=4)])}) / "detections.parquet"
    second.replace(first)
    assert total(first, Filter()).number == 2


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 1000)])
def test_an_edition_that_cannot_be_read_is_named(detections: Path, damage: Callable[[Path], object]) -> None:
    damage(detections)
    with pytest.raises(EditionError, match=r"detections\.parquet cannot be read: .*clear the task"):
        find(detections, Filter())


@pytest.mark.parametrize(
    "query",
    [{"min_score": "-1"}, {"min_score": "1e9"}, {"min_score": "٣"}, {"min_score": "1" * 99}, {"tag": "x" * 501}],
)
def test_a_filter_that_makes_no_sense_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(FilterError):
        Filter.parse(query)


def test_a_filter_is_what_the_address_says() -> None:
    query = {"type": " Detection ", "min_score": "", "package": "Foo._Bar", "other": "x"}
    wanted = Filter.parse(query)
    assert wanted == Filter(type="Detection", package="Foo._Bar")
    assert wanted.prefix == "foo-bar"


def test_a_page_is_where_the_address_says() -> None:
    assert parse_sort({}) == "score"
    assert parse_after({}, "score") is None
    assert parse_after({"row": "12", "key": "2.5"}, "score") == After(2.5, 12)
    assert parse_after({"row": "12", "key": "2.5"}, "package") == After("2.5", 12)
    for query in ({"row": "-1", "key": "1"}, {"row": "1", "key": "x"}, {"row": "1 OR 1", "key": "1"}):
        with pytest.raises(FilterError):
            parse_after(query, "score")
    with pytest.raises(FilterError):
        parse_sort({"sort": "score; DROP TABLE"})
