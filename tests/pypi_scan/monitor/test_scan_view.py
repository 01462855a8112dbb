"""A scan as it stands, from the small files that its tasks leave."""

import pytest

from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import open_fleet
from pypi_scan.monitor.scan_list import planned_scan, planned_scans
from pypi_scan.monitor.scan_view import ShardState, scan_view
from pypi_scan.monitor.task_alerts import failed_tasks
from pypi_scan.scan_progress import ShardProgress, write_progress

START = 1_000_000.0


@pytest.fixture
def scan(make_scan):
    scan = make_scan({f"p{number}": None for number in range(8)}, shards=4)
    with open_fleet(scan.directory) as fleet:
        fleet.places = 3
        fleet.admit("one", Capacity(2))
        fleet.set_shards(dict.fromkeys(scan.division.shard_ids, 1.0))
    return scan


def view(scan, now):
    return scan_view(scan.directory, planned_scan(scan.directory), now)


def test_shards_go_from_waiting_to_collected(scan):
    first, second, third, _ = scan.division.shard_ids
    with open_fleet(scan.directory) as fleet:
        for shard in (first, second, third):
            fleet.claim(shard, START)
        for shard in (first, second):
            fleet.fetched(shard)
            fleet.started(shard, START)
        fleet.scanned(first, START + 100)
    write_progress(scan.directory, first, ShardProgress("scan", "one", 2, 0, 2, 0.02, START + 100))
    write_progress(scan.directory, second, ShardProgress("scan", "one", 1, 0, 2, 0.5, START + 150))
    scan.results(first).accept()
    seen = view(scan, START + 150)
    assert [shard.state for shard in seen.shards] == [
        ShardState.COLLECTED,
        ShardState.SCANNING,
        ShardState.PREFETCHING,
        ShardState.WAITING,
    ]
    assert (seen.done, seen.packages) == (3, 8)
    assert seen.rate == 0.5
    assert seen.average == pytest.approx(3 / 150)
    assert seen.seconds_left == pytest.approx(150 * 5 / 3, rel=0.01)


def test_the_progress_of_a_worker_that_lost_the_shard_does_not_count(scan):
    first = scan.division.shard_ids[0]
    with open_fleet(scan.directory) as fleet:
        fleet.claim(first, START)
        fleet.started(first, START)
    write_progress(scan.directory, first, ShardProgress("scan", "lost", 2, 0, 2, 9.0, START))
    seen = view(scan, START + 10)
    assert (seen.done, seen.rate) == (0, 0)


def test_nothing_is_left_once_all_is_scanned_however_short_it_took(scan):
    with open_fleet(scan.directory) as fleet:
        fleet.places = 4
        for shard in scan.division.shard_ids:
            fleet.claim(shard, START)
            fleet.fetched(shard)
            fleet.started(shard, START)
            fleet.scanned(shard, START + 1)
            write_progress(scan.directory, shard, ShardProgress("scan", "one", 2, 0, 2, 2.0, START + 1))
    seen = view(scan, START + 2)
    assert (seen.done, seen.seconds_left) == (8, 0)


def test_a_scan_that_is_not_divided_has_a_plan_alone(scan):
    (scan.directory / "division.json").unlink()
    seen = view(scan, START)
    assert (seen.plan.input, list(seen.shards), seen.seconds_left) == (8, [], None)


def test_scans_come_by_date_and_the_second_of_a_date_before_the_first(scan):
    plan = (scan.directory / "plan.json").read_text()
    for scan_id in ("2026-10-01", "2026-11-01-2", "2026-11-01-10", "2026-11-01-3"):
        (scan.directory.parent / scan_id).mkdir()
        (scan.directory.parent / scan_id / "plan.json").write_text(plan.replace("2026-11-01", scan_id))
    (scan.directory.parent / "2026-12-01").mkdir()
    found = [one.plan.scan_id for one in planned_scans(scan.directory.parent)]
    assert found == ["2026-11-01-10", "2026-11-01-3", "2026-11-01-2", "2026-11-01", "2026-10-01"]


def test_failed_tasks_are_those_of_the_run(tmp_path):
    alerts = tmp_path / "alerts.jsonl"
    assert failed_tasks(alerts, "global_scan", "run") == []
    line = '{{"at": "2026-11-01T00:00:00+00:00", "alert": "{}", "about": "{}", "text": "{}"}}\n'
    alerts.write_text(
        line.format("task_failed", "global_scan run shards.scan [3]", "no room")
        + line.format("task_failed", "global_scan run-2 plan", "of another run")
        + line.format("scan_late", "run", "7 packages")
        + "half a li"
    )
    assert [(alert.about, alert.text) for alert in failed_tasks(alerts, "global_scan", "run")] == [
        ("shards.scan [3]", "no room")
    ]
