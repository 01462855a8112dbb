"""Estimates: what a scan would take is what it then takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from pypi_scan.divide import divide_scan
from pypi_scan.earlier_scan import EarlierScan, packed_scans
from pypi_scan.estimate import Estimate, described, estimate_scan
from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import open_fleet
from pypi_scan.mirror import Mirror
from pypi_scan.plan import PlanError
from pypi_scan.prediction import CostModel, Measured
from pypi_scan.record_store import RecordStore
from pypi_scan.results import Scanner
from pypi_scan.scan_request import ScanRequest

from .conftest import NOW, SCANNER, open_store, package_json

COSTS = CostModel({name: Measured(1800.0, 1, 1) for name in "abcde"})
WORKERS = [Capacity(4), Capacity(2, weight=0.5)]


@pytest.fixture
def scan(make_scan: Callable[..., Any]) -> Any:
    """A scan of five packages that was packed, but for one that timed out, and its workers."""
    scan = make_scan(dict.fromkeys("abcde"))
    made = scan.results("0001")
    made.fail("c", "timeout")
    made.accept()
    scan.pack()
    with open_fleet(scan.directory) as fleet:
        for number, capacity in enumerate(WORKERS):
            fleet.admit(f"worker_{number}", capacity)
        fleet.admit("broken", Capacity(64))
        fleet.leave_out("broken", "it does not answer")
    return scan


@pytest.fixture
def estimate(scan: Any, tmp_path: Path) -> Callable[..., Estimate]:
    def make(packages: tuple[str, ...] = (), *, reuse: bool = True, package_timeout: int = 900) -> Estimate:
        with open_store(tmp_path / "scans") as store:
            return estimate_scan(
                Mirror(tmp_path / "mirror"),
                ScanRequest(NOW, packages),
                packed_scans(tmp_path / "scans"),
                COSTS,
                records=store if reuse else None,
                package_timeout=package_timeout,
                places=2,
            )

    return make


def test_an_estimate_is_what_the_division_will_be(scan: Any, estimate: Callable[..., Estimate]) -> None:
    guess = estimate()
    with open_store(scan.directory.parent) as store:
        division = divide_scan(scan.directory, SCANNER, records=store, costs=COSTS, workers=WORKERS)
    assert (guess.reused, guess.to_scan) == (division.known, 1) == (4, 1)
    assert (guess.bytes, guess.files, guess.shards) == (division.bytes, 1, len(division.shards))
    assert guess.cpu_hours == pytest.approx(division.cost / 3600, rel=1e-3)
    assert guess.hours == pytest.approx(
        guess.cpu_hours / 5, abs=1e-4
    )  # on five cores' worth of workers: one of the three is left out
    assert (guess.workers, guess.cores) == (2, 6)


def test_packages_without_a_release_are_counted_apart(estimate: Callable[..., Estimate], tmp_path: Path) -> None:
    (tmp_path / "mirror/web/json/f").write_bytes(package_json("f").replace(b'"size": 1', b'"size": 1, "yanked": true'))
    guess = estimate(reuse=False)
    assert (guess.input, guess.unscannable, guess.to_scan, guess.reused) == (6, 1, 5, 0)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"reuse": False}, "the mode is full"),
        ({"package_timeout": 60}, "no scan on this host gave a package 60 seconds"),
    ],
)
def test_nothing_is_re_used_where_a_scan_would_not(
    estimate: Callable[..., Estimate], asked: dict[str, Any], why: str
) -> None:
    guess = estimate(**asked)
    assert (guess.reused, guess.to_scan, guess.cpu_hours) == (0, 5, 2.5)
    assert why in guess.goes_by[0]


def test_a_worker_needs_room_for_its_largest_shards_only(
    estimate: Callable[..., Estimate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pypi_scan.divide.SHARD_PACKAGES", 1)
    guess = estimate(reuse=False)
    assert (guess.shards, guess.bytes, guess.worker_disk_bytes) == (5, 5, 2)


def test_the_control_host_is_taken_to_keep_as_much_a_package_as_before(
    scan: Any, estimate: Callable[..., Estimate]
) -> None:
    held = sum(path.stat().st_size for path in scan.directory.rglob("*") if path.is_file())
    assert estimate(("a", "b")).control_disk_bytes == round(held / 5 * 2)


def test_workers_and_disk_are_of_the_last_full_scan_records_of_the_last_alike(
    make_scan: Callable[..., Any], tmp_path: Path
) -> None:
    scan = make_scan(dict.fromkeys("ab"))
    scan.results("0001").accept()
    scan.pack()
    (full,) = packed_scans(scan.directory.parent)
    quick = Scanner(**{**asdict(SCANNER), "settings": {**SCANNER.settings, "timeout": 60.0}})
    partial = EarlierScan("2026-11-02", True, quick, [Capacity(1)], 9e9)
    with open_store(tmp_path / "scans") as store:
        guess = estimate_scan(
            Mirror(tmp_path / "mirror"),
            ScanRequest(NOW),
            [partial, full],
            COSTS,
            records=store,
            package_timeout=900,
            places=2,
        )
    assert guess.reused == 2
    assert guess.control_disk_bytes == round(2 * full.bytes_per_package)


def test_an_earlier_scan_that_cannot_be_read_is_left_out(scan: Any) -> None:
    (scan.directory / "division.json").write_text("{}")
    assert packed_scans(scan.directory.parent) == []


def test_without_an_earlier_scan_all_is_scanned_and_hours_are_not_known(
    make_mirror: Callable[..., Mirror], tmp_path: Path
) -> None:
    mirror = make_mirror(dict.fromkeys("ab"))
    assert packed_scans(tmp_path / "scans") == []
    with RecordStore(tmp_path / "records.sqlite", NOW) as store:
        guess = estimate_scan(mirror, ScanRequest(NOW), [], COSTS, records=store, package_timeout=900, places=2)
    assert (guess.to_scan, guess.reused, guess.hours, guess.workers, guess.control_disk_bytes) == (
        2,
        0,
        None,
        None,
        None,
    )
    text = "\n".join(described(guess))
    assert "2 packages, of which 2 are to be scanned" in text
    assert "divide the CPU time by their cores" in text


def test_what_cannot_be_planned_cannot_be_estimated(estimate: Callable[..., Estimate], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="matches, 'nothing'"):
        estimate(("nothing",))
    (tmp_path / "mirror/web/json/a").write_bytes(b"{}")
    with pytest.raises(PlanError, match="none of the 1 packages asked for had a release"):
        estimate(("a",))
