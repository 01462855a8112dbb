"""The simulation of a scan: its clock, its lower bound, and that it runs from end to end."""

import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import simulate  # noqa: E402
from cluster import Assumptions, Cluster, Node, Shard, lower_bound  # noqa: E402

from pypi_scan.fleet import Capacity  # noqa: E402

AT_ONCE = Assumptions(task_seconds=0, notice_seconds=0, start_seconds=0, mirror_rate=100, worker_rate=50, file_bytes=0)


def shard(name: str, *costs: float, size: int = 0) -> Shard:
    return Shard(name, sum(costs), size, len(costs), [(cost, cost) for cost in costs])


def test_packages_share_the_cores_and_shards_follow_one_another() -> None:
    nodes = [Node("a", Capacity(2), core_speed=2)]
    ran = Cluster(nodes, [shard("0001", 8, 2, 2, 2), shard("0002", 4, 4)], 2, AT_ONCE).run()
    assert ran.seconds == 6  # 8 beside 2 + 2 + 2, then 4 beside 4, at two CPU seconds a second
    assert ran.idle == 1


def test_the_next_shard_begins_on_idle_cores() -> None:
    nodes, shards = [Node("a", Capacity(2))], [shard("0001", 8, 1), shard("0002", 5, 2)]
    assert Cluster(nodes, shards, 2, AT_ONCE).run().seconds == 8


def test_nodes_share_what_the_mirror_sends_and_their_disk_is_counted() -> None:
    shards = [shard(f"000{number}", 1, size=100) for number in range(4)]
    one = Cluster([Node("a", Capacity(1))], shards[:1], 2, AT_ONCE).run()
    assert (one.seconds, one.disk_bytes) == (3, 100)
    four = Cluster([Node(name, Capacity(1)) for name in "abcd"], shards, 2, AT_ONCE).run()
    assert four.seconds == 5
    assert Cluster([Node("a", Capacity(1))], shards, 3, AT_ONCE).run().disk_bytes == 300


def test_the_shards_of_a_node_that_dies_are_scanned_by_another() -> None:
    nodes = [Node("a", Capacity(1), dies=15), Node("b", Capacity(1))]
    ran = Cluster(nodes, [shard(f"000{number}", 10) for number in range(4)], 2, AT_ONCE).run()
    assert ran.seconds == 30
    assert ran.scans == 5


def test_the_lower_bound_counts_a_node_until_it_dies() -> None:
    nodes = [Node("a", Capacity(10), dies=3), Node("b", Capacity(2), core_speed=5)]
    assert lower_bound(60, nodes) == 3
    assert lower_bound(100, nodes) == 7
    with pytest.raises(ValueError, match="70 CPU seconds"):
        lower_bound(100, nodes[:1])


def test_figures_are_flat_and_the_mirror_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "RESULT", tmp_path / "results" / "simulate.json")
    monkeypatch.setattr(simulate, "PROJECT", tmp_path)
    monkeypatch.setattr(simulate.scaling_page, "_RESULT", simulate.RESULT)
    monkeypatch.setattr(simulate.scaling_page, "_PAGE", tmp_path / "scaling.md")
    monkeypatch.setattr(simulate, "count_tasks", lambda: {"of_a_shard": 4, "others": 6})
    monkeypatch.setattr(simulate, "TARGETS", {"plan_s": 600, "makespan_equal": 1})
    monkeypatch.setattr(sys, "argv", ["", "--packages", "300", "--cache", str(tmp_path)])
    with pytest.raises(SystemExit, match="missed: makespan_equal"):
        simulate.main()
    result = json.loads((tmp_path / "results" / "simulate.json").read_text())
    shards = result["runs"]["equal"]["shards"]
    assert result["summary"]["packages"] == result["plan"]["planned"] == 300
    assert result["summary"]["tasks"] == 4 * shards + 6
    assert all(isinstance(value, int | float) for value in result["summary"].values())
    assert all(run["ratio"] >= 1 for run in result["runs"].values())
    assert not (tmp_path / "simulate-300").exists()
    page = (tmp_path / "scaling.md").read_text()
    assert "| `packages` | 300 |" in page
    assert f"| equal | {shards} | " in page
