"""A package over several scans: what each says of it, its record, and what changed as changes.jsonl.zst tells it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pypi_scan.changes import write_changes
from pypi_scan.monitor import package_history
from pypi_scan.monitor.package_history import Changes, InScan, TooLargeError, compare, history, names_like, read_record
from pypi_scan.monitor.packed_scans import PackedScan, packed_scans
from pypi_scan.read_package import ReadError

from .conftest import DIRECTORY, detection


@pytest.fixture
def three_scans(add_scan: Callable[..., Path], tmp_path: Path) -> list[PackedScan]:
    """Package `x` is not in the first, times out in the second, and has a record in the third."""
    add_scan("2026-09-01", {"y": ("1.0", [])})
    add_scan("2026-10-01", {"x": ("1.0", None), "y": ("1.0", [])})
    add_scan("2026-11-01", {"x": ("1.1", [detection()]), "y": ("1.0", [])})
    return packed_scans(tmp_path / "scans")


def test_the_history_has_each_scan_that_was_asked_for_the_package(three_scans: list[PackedScan]) -> None:
    found = history(three_scans, "x")
    told = [(one.scan.scan_id, one.version, one.status, one.score, one.detections) for one in found]
    assert told == [("2026-11-01", "1.1", "ok", 50, 1), ("2026-10-01", "1.0", "timeout", None, None)]
    assert found[1].reason == "for a reason"
    assert read_record(found[1], "x") is None
    record = read_record(found[0], "x")
    assert record is not None
    assert (record.pypi.version, record.detections[0].line) == ("1.1", "exec(code)")
    assert history(three_scans, "unknown") == history([], "x") == []


def test_only_packed_scans_count(three_scans: list[PackedScan], tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    (scans / "2026-10-01/dataset/manifest.json").unlink()
    (scans / "2026-09-01/dataset/manifest.json").write_text("{}")
    (scans / "2026-11-01").rename(scans / "kept of 2026-11-01")
    assert packed_scans(scans) == packed_scans(tmp_path / "nothing") == []


def test_names_that_begin_alike(add_scan: Callable[..., Path], tmp_path: Path) -> None:
    add_scan("2026-11-01", {name: ("1.0", []) for name in ("six", "sixth", "sick", "zz")})
    (scan,) = packed_scans(tmp_path / "scans")
    assert names_like(scan, "six") == ["six", "sixth"]
    assert names_like(scan, "'; --") == []


def test_what_is_wrong_with_a_record_is_said(three_scans: list[PackedScan], monkeypatch: pytest.MonkeyPatch) -> None:
    latest = history(three_scans, "x")[0]
    with monkeypatch.context() as patch:
        patch.setattr(package_history, "_MOST_BYTES", 10)
        with pytest.raises(TooLargeError, match="read_package"):
            read_record(latest, "x")
    with pytest.raises(ReadError, match="has no record of z"):
        read_record(latest, "z")
    latest.scan.records.write_bytes(b"x" * 10_000)
    with pytest.raises(ReadError, match="is damaged"):
        read_record(latest, "x")
    latest.scan.records.unlink()
    with pytest.raises(ReadError, match="cannot be read"):
        read_record(latest, "x")


def test_changes_are_those_of_the_dataset(add_scan: Callable[..., Path], tmp_path: Path) -> None:
    draw = random.Random(3)

    def drawn(version: str) -> list[dict[str, Any]]:
        return [
            detection(
                signature=f"rule#{draw.randrange(9)}/{line}#{DIRECTORY}/x-{version}.tar.gz$x/{line}.py",
                message=draw.choice(["one", "other"]),
                severity=draw.choice(["high", "low", "critical"]),
                score=draw.choice([0, 10, 50]),
                line_no=line,
            )
            for line in range(draw.randrange(12))
        ]

    names = [f"p{number}" for number in range(40)]
    before = add_scan("2026-10-01", {name: ("1.0", drawn("1.0")) for name in names})
    now = add_scan("2026-11-01", {name: ("1.1", drawn("1.1")) for name in names})
    write_changes(before, "2026-10-01", now, "2026-11-01")
    with zstandard.open(now / "changes.jsonl.zst", "rb") as file:
        expected = {line["package"]: line for line in map(json.loads, file.read().splitlines())}
    assert any(line["added"] for line in expected.values())
    scans = packed_scans(tmp_path / "scans")
    for name in names:
        changes = _changes(history(scans, name), name)
        for side, found in (("added", changes.added), ("removed", changes.removed)):
            assert [one._asdict() for one in found] == expected[name][side]


def _changes(found: list[InScan], name: str) -> Changes:
    now, before = (read_record(one, name) for one in found)
    assert now is not None
    assert before is not None
    return compare(before, now)
