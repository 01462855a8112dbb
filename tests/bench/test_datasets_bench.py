"""The benchmark of the datasets runs, cleans up, and its small world is as it says."""

import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import datasets_bench  # noqa: E402

from pypi_scan.mirror import Mirror  # noqa: E402


def test_documents_are_as_large_as_they_should_be_and_readable(tmp_path: Path) -> None:
    world = datasets_bench.World(Mirror(tmp_path), 2000)
    world.write_all()
    sizes = [world.mirror.json_path(name).stat().st_size for name in world.names]
    assert sum(sizes) / len(sizes) == pytest.approx(datasets_bench.MEAN_BYTES, rel=0.15)
    needs = [len(world.mirror.document(name).info.requires_dist or []) for name in world.names]
    assert sum(needs) / len(needs) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("keep", [False, True])
def test_figures_are_flat_and_the_mirror_is_removed_or_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(datasets_bench, "RESULT", tmp_path / "datasets.json")
    monkeypatch.setattr(datasets_bench, "PROJECT", tmp_path)
    monkeypatch.setattr(datasets_bench.page, "write", lambda: tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["", "--packages", "600", "--cache", str(tmp_path), *["--keep"] * keep])
    monkeypatch.setattr(datasets_bench, "TARGETS", dict.fromkeys(datasets_bench.TARGETS, float("inf")))
    datasets_bench.main()
    figures = json.loads((tmp_path / "datasets.json").read_text())
    assert figures["summary"].keys() == {"packages", *datasets_bench.TARGETS}
    assert figures["summary"]["packages"] == 600
    assert all(isinstance(value, int | float) for value in figures["summary"].values())
    assert [run["documents_read"] for run in figures["runs"].values()] == [600, 600, 0, 500]
    root = tmp_path / "datasets-600"
    assert root.exists() == keep
    if keep:
        monkeypatch.setattr(datasets_bench.World, "write_all", None)
        datasets_bench.main()
        assert sorted(path.name for path in root.iterdir()) == ["complete", "mirror"]


def test_a_missed_target_is_an_error_after_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"summary": {"packages": 1, **dict.fromkeys(datasets_bench.TARGETS, 0), "unchanged_s": 3}}
    monkeypatch.setattr(datasets_bench, "RESULT", tmp_path / "datasets.json")
    monkeypatch.setattr(datasets_bench, "PROJECT", tmp_path)
    monkeypatch.setattr(datasets_bench, "measure", lambda root, packages: result)
    monkeypatch.setattr(datasets_bench.page, "write", lambda: tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["", "--packages", "1", "--cache", str(tmp_path)])
    with pytest.raises(SystemExit, match="missed: unchanged_s"):
        datasets_bench.main()
    assert json.loads((tmp_path / "datasets.json").read_text()) == result


def test_a_disk_that_is_too_small_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"need \d+ GiB"):
        datasets_bench.measure(tmp_path, 10**4 * 2**30)
    assert list(tmp_path.iterdir()) == []
