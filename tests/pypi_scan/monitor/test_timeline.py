"""What the workers of a scan did when."""

from pypi_scan.fleet import Capacity, Fleet, FleetShard
from pypi_scan.monitor.timeline import timeline
from pypi_scan.scan_progress import ShardProgress


def fleet_of(shards):
    """A fleet that has {shard: (worker, started, ended or None)}, and the progress of its shards."""
    fleet, progress = Fleet(), {}
    for name, (worker, started, ended) in shards.items():
        fleet.admit(worker, Capacity(2))
        fleet.shards[name] = FleetShard(1.0, worker=worker, started=started, scanned=ended is not None)
        progress[name] = ShardProgress("scan", worker, 1, 0, 1, None, ended or started)
    return fleet, progress


def rows_of(fleet, progress, now):
    return {row.name: row for row in timeline(fleet, progress, now).rows}


def test_a_shard_that_waits_on_its_worker_for_another_one_is_not_counted_twice():
    rows = rows_of(*fleet_of({"1": ("one", 100, 200), "2": ("one", 150, 300)}), now=900)
    assert [(bar.shard, bar.start, bar.end) for bar in rows["one"].bars] == [("1", 100, 200), ("2", 200, 300)]
    assert (rows["one"].seconds, rows["one"].idle) == (200, 0)


def test_idle_are_gaps_and_the_wait_for_other_workers():
    rows = rows_of(*fleet_of({"1": ("one", 100, 200), "2": ("one", 250, 300), "3": ("two", 100, 500)}), now=900)
    assert rows["one"].idle == 50 + 200
    assert rows["two"].idle == 0


def test_a_worker_that_gets_no_shards_any_more_is_not_idle():
    fleet, progress = fleet_of({"1": ("one", 100, 200), "2": ("two", 100, 500)})
    fleet.leave_out("one", "it failed")
    assert rows_of(fleet, progress, now=900)["one"].idle == 0


def test_what_runs_lasts_until_now():
    drawn = timeline(*fleet_of({"1": ("one", 100, 200), "2": ("one", 200, None)}), now=450)
    assert (drawn.start, drawn.end) == (100, 450)
    assert drawn.rows[0].bars[-1] == ("2", 200, 450, True)
