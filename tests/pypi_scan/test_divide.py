"""Divisions: whole blocks in shards of about equal cost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pypi_scan.divide import KNOWN_COST, DivisionError, divide_scan, read_division
from pypi_scan.fleet import Capacity
from pypi_scan.prediction import CostModel, Measured
from pypi_scan.results import Scanner
from pypi_scan.shard import SHARD_ID, read_shard

from .conftest import SCANNER, open_store

NAMES = [f"p{number:03}" for number in range(256)]  # blocks of four


@pytest.fixture
def scan(make_scan: Callable[..., Any]) -> Any:
    return make_scan(dict.fromkeys("abcde"))


def shards(directory: Path) -> dict[str, list[str]]:
    """The names in each shard, which are sorted."""
    found = {}
    for shard in read_division(directory).shard_ids:
        found[shard] = [package.name for package in read_shard(directory / "shards" / f"{shard}.jsonl.zst")]
        assert found[shard] == sorted(found[shard])
    return found


@pytest.mark.parametrize(("asked", "number"), [(None, 1), (1, 1), (3, 3), (5, 5), (9, 5)])
def test_number_of_shards(scan: Any, asked: int | None, number: int) -> None:
    division = divide_scan(scan.directory, SCANNER, records=None, shards=asked)
    assert len(division.shards) == number
    assert all(SHARD_ID.fullmatch(shard) for shard in division.shard_ids)
    assert read_division(scan.directory) == division
    assert sorted(name for names in shards(scan.directory).values() for name in names) == list("abcde")


def test_the_number_of_shards_follows_from_cost_and_packages(scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def number(costs: CostModel) -> int:
        return len(divide_scan(scan.directory, SCANNER, records=None, costs=costs, workers=[Capacity(1)]).shards)

    hours, nothing = CostModel(dict.fromkeys("abcde", Measured(3600.0, 1, 1))), CostModel({})
    assert (number(hours), number(nothing)) == (5, 1)
    monkeypatch.setattr("pypi_scan.divide.SHARD_PACKAGES", 2)
    assert number(nothing) == 3
    monkeypatch.setattr("pypi_scan.divide.MAX_SHARDS", 2)
    assert number(nothing) == 2


def test_blocks_are_never_cut(make_scan: Callable[..., Any]) -> None:
    scan = make_scan(dict.fromkeys(NAMES), shards=7)
    blocks = [NAMES[at : at + 4] for at in range(0, 256, 4)]
    found = shards(scan.directory)
    assert sorted(name for names in found.values() for name in names) == NAMES
    for names in found.values():
        assert [names[at : at + 4] for at in range(0, len(names), 4)] == [b for b in blocks if b[0] in names]
    for package in read_shard(scan.directory / "shards" / "0001.jsonl.zst"):
        assert package.name in blocks[package.block]


def test_dividing_again_leaves_nothing_of_the_former_division(scan: Any) -> None:
    divide_scan(scan.directory, SCANNER, records=None, shards=5)
    scan.results("0001").accept()
    content = {path.name: path.read_bytes() for path in (scan.directory / "shards").iterdir()}
    divide_scan(scan.directory, SCANNER, records=None, shards=2)
    assert list(shards(scan.directory)) == ["0001", "0002"]
    assert len(list((scan.directory / "shards").iterdir())) == 2
    assert not (scan.directory / "results").exists()
    divide_scan(scan.directory, SCANNER, records=None, shards=5)
    assert {path.name: path.read_bytes() for path in (scan.directory / "shards").iterdir()} == content


def test_known_packages_are_marked_and_cost_next_to_nothing(scan: Any) -> None:
    made = scan.results("0001")
    made.fail("c", "timeout")
    made.accept()
    with open_store(scan.directory.parent) as store:
        told_more = Scanner(SCANNER.scanner, SCANNER.version, SCANNER.python, SCANNER.settings, {"a": "0" * 64})
        division = divide_scan(scan.directory, told_more, records=store)
        assert (division.packages, division.known, division.bytes) == (5, 4, 1)
        assert division.cost == round(4 * KNOWN_COST + CostModel({}).cost("c", 1, 1), 1)
        assert division.scanner == SCANNER
        packages = list(read_shard(scan.directory / "shards" / "0001.jsonl.zst"))
        assert [package.name for package in packages] == list("abcde")
        assert [package.name for package in packages if package.known] == ["a", "b", "d", "e"]
        assert divide_scan(scan.directory, told_more, records=None).known == 0


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_division_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "division.json").write_bytes(content)
    with pytest.raises(DivisionError, match=r"no readable division: .*clear the task divide"):
        read_division(tmp_path)
