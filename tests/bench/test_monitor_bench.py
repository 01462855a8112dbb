"""The benchmark of the scan monitor asks the real API server for every page, and keeps its scans."""

import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import monitor_bench  # noqa: E402


@pytest.mark.world
def test_every_page_is_timed_over_scans_that_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_bench, "RESULT", tmp_path / "monitor.json")
    monkeypatch.setattr(monitor_bench.page, "write", lambda: tmp_path / "page.md")
    monkeypatch.setattr(monitor_bench, "TARGETS", {"slowest_ms": float("inf")})
    monkeypatch.setattr(monitor_bench, "ROUNDS", 2)
    monkeypatch.setattr(monitor_bench, "SHARDS", 30)
    monkeypatch.setattr(sys, "argv", ["", "--packages", "300", "--cache", str(tmp_path)])
    monitor_bench.main()
    result = json.loads((tmp_path / "monitor.json").read_text())
    summary, pages = result["summary"], result["pages"]
    assert summary["packages"] == 300
    assert summary["pages"] == len(pages) > 10
    assert summary["slowest_ms"] == max(page["median_ms"] for page in pages.values())
    assert pages["findings"]["bytes"] > pages["findings, nothing"]["bytes"]
    monkeypatch.setattr(monitor_bench, "make_scans", None)
    monkeypatch.setattr(monitor_bench, "TARGETS", {"slowest_ms": 0})
    with pytest.raises(SystemExit, match="missed: slowest_ms"):
        monitor_bench.main()
