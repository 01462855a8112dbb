"""The benchmark's own arithmetic: what counts as the same detections, and how its figures come about."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import corpus  # noqa: E402
import detections  # noqa: E402
import page  # noqa: E402
import scan  # noqa: E402
import summary  # noqa: E402
from world import World  # noqa: E402

WHEEL = "packages/ab/cd/ef/six-1.whl"


def found(location: str = f"{WHEEL}$six.py", **more: Any) -> detections.Detection:
    return {"type": "ModuleImport", "location": location, "signature": f"import#{location}", "line_no": 3, **more}


def test_paths_of_the_original_become_those_of_the_mirror() -> None:
    path = detections.original_paths(
        "/bench/web",
        "/bench/tmp",
        {"sandbox_x1six-1.whl": f"/bench/web/{WHEEL}", "sandbox_x2": f"/bench/web/{WHEEL}$a:7"},
    )
    assert path("see /bench/tmp/sandbox_x1six-1.whl/six.py") == f"see {WHEEL}$six.py"
    assert path("/bench/tmp/sandbox_x2/blob") == f"{WHEEL}$a:7$blob"
    assert path(f"/bench/web/{WHEEL}") == WHEEL
    assert path("/elsewhere/six.py") == "/elsewhere/six.py"


def test_the_order_of_detections_and_of_tags_does_not_count() -> None:
    one, other = found(tags=["a", "b"]), found(line_no=4)
    left = detections.multiset([one, other])
    assert left == detections.multiset([other, {**one, "tags": ["b", "a"]}])


def test_the_number_of_detections_counts() -> None:
    left, right = detections.multiset([found(), found()]), detections.multiset([found()])
    assert detections.difference(left, right) == [found()]
    assert detections.difference(right, left) == []


@pytest.mark.parametrize("change", [{"line_no": 4}, {"score": 1}, {"location": f"{WHEEL}$other.py"}, {"tags": ["x"]}])
def test_whatever_differs_in_a_detection_is_a_difference(change: dict[str, Any]) -> None:
    left, right = detections.multiset([found()]), detections.multiset([{**found(), **change}])
    assert detections.difference(left, right) == [found()]
    assert detections.difference(right, left) == [{**found(), **change}]


def test_an_archive_named_twice_is_named_once() -> None:
    twice = {**found(), "location": f"{WHEEL}${WHEEL}$six.py"}
    assert detections.multiset([twice]) == detections.multiset([found()])


def test_only_requirements_that_the_mirror_decides_on_are_left_out() -> None:
    outdated = found(type="OutdatedPackage")
    unknown = found(type="InvalidRequirement", extra={"exc_type": "NoSuchPackage"})
    invalid = found(type="InvalidRequirement", extra={"exc_type": "InvalidRequirement"})
    assert detections.multiset([outdated, unknown, invalid]) == detections.multiset([invalid])
    assert detections.left_out([outdated, unknown, invalid]) == 2


def test_a_corpus_is_read() -> None:
    text = "# comment\n\nSix==1.17.0 all\nzope.interface==7.2  # why\n"
    assert corpus.parse(text) == [corpus.Wanted("six", "1.17.0", True), corpus.Wanted("zope-interface", "7.2", False)]


@pytest.mark.parametrize("line", ["six", "six>=1", "six==1 some", "six==1,<2", "--index x", "six==1\nSix==2"])
def test_a_corpus_that_cannot_be_read_is_refused(line: str) -> None:
    with pytest.raises(corpus.CorpusError):
        corpus.parse(line)


def test_the_default_corpus_is_as_large_and_diverse_as_promised() -> None:
    wanted = corpus.parse((BENCH / "corpus.txt").read_text(encoding="utf-8"))
    assert len(wanted) >= 60
    assert sum(one.everything for one in wanted) >= 8


def test_cores_count_until_the_last_package_starts() -> None:
    # Two cores: one scan of 10 s, and on the other core 4 s, 1 s of waiting for the disk, and 5 s of which 5 are after.
    scans = [summary.Scan(100, 10, 10), summary.Scan(100, 5, 4), summary.Scan(105, 5, 5)]
    assert summary.work_while_waiting(scans, 2) == summary.Work(given=10, used=5 + 4)
    assert summary.work_while_waiting([], 2) == summary.Work(0, 0)


def row(name: str, files: int, original: float, engine: float, identical: bool | None = True) -> dict[str, Any]:
    """A row of the result; `identical` is None where the original gave no result."""
    differing: dict[str, Any] = {"by_type": {} if identical else {"ReDoS": 2}, "examples": []}
    sides: dict[str, dict[str, Any]] = {
        "original": {"scanned": identical is not None, "cpu_seconds": original, "reason": "it broke", "left_out": 2},
        "engine": {"scanned": True, "cpu_seconds": engine, "reason": None, "left_out": 0},
    }
    for side in sides.values():
        side |= {"seconds": 2 * side["cpu_seconds"], "peak_mb": 80.0}
    return {
        "name": name,
        "version": "1",
        "files": files,
        "bytes": 1000,
        "detections": 9,
        "identical": identical,
        "only_original": differing if identical is not None else None,
        "only_engine": {"by_type": {}, "examples": []},
        "floor": {"cpu_seconds": 0.5},
        "ratio": summary.ratios(sides["original"], sides["engine"]),
        **sides,
    }


ROWS = [row("a", 1, 10, 4), row("b", 5, 30, 3), row("c", 1, 20, 5, identical=False), row("d", 1, 2, 1, identical=None)]


def test_the_summary() -> None:
    original, engine = [summary.Leg(40, 20, 300), summary.Leg(30, 20, 400)], [summary.Leg(10, 6, 200.0)] * 2
    work = [summary.Work(10, 9), summary.Work(30, 27)]
    figures = summary.summarise(ROWS, original, engine, work, floor=2)
    assert (figures["packages"], figures["stock_scanned"]) == (4, 3)
    assert (figures["identical"], figures["engine_only"]) == (2, 1)
    assert figures["cpu_ratio"] == 70 / 20
    assert figures["wall_ratio"] == round(40 / 12, 3)
    # Of 70 seconds 62 belong to packages: 2 more to each. Of the engine's 20 seconds 13 do: 1.75 more to each.
    assert figures["multi_file_cpu_ratio"] == round((30 + 2) / (3 + 1.75), 3)
    assert figures["floor_ratio"] == 10
    assert figures["utilisation"] == 0.9
    assert figures["peak_mb"] == 200
    assert figures["peak_ratio"] == 2


def test_the_ratios_of_a_package() -> None:
    assert ROWS[1]["ratio"] == {"cpu": 10, "wall": 10, "memory": 1}
    assert ROWS[3]["ratio"] is None


def test_a_figure_that_nothing_was_measured_for_is_none() -> None:
    leg = [summary.Leg(1, 1, 1)]
    figures = summary.summarise([row("a", 1, 1, 1)], leg, leg, [summary.Work(0, 0)], floor=0)
    assert figures["floor_ratio"] is None
    assert figures["utilisation"] is None
    # No release of several files: nothing over nothing.
    assert figures["multi_file_cpu_ratio"] is None


def test_the_page_tells_what_differs() -> None:
    leg = {"elsewhere": 0.25, "wall_seconds": 2}
    legs = [summary.Leg(1, 1, 1)]
    settings = {"cores": 2, "rounds": 3, "python": "3.11.9", "machine": "x86_64"}
    settings |= {"corpus": "corpus.txt", "corpus_packages": 68}
    result = {
        "summary": summary.summarise(ROWS, legs, legs, [summary.Work(1, 1)], floor=1),
        "settings": settings,
        "legs": {"original": [leg], "engine": [leg]},
        "packages": ROWS,
        "profile": {"walking over syntax trees": 3.0, "records": 1.0},
    }
    run = {"seconds": 3.21, "peak_mb": 400, "documents_read": 500, "steps": {"extract": 1.96}}
    datasets = {
        "summary": dict.fromkeys(page._DATASETS_MEANING, 1.5),
        "settings": {"cores": 2, "python": "3.12.1"},
        "runs": {"decode": {**run, "steps": {}}, "changed_500": run},
    }
    pack = {
        "summary": dict.fromkeys(page._PACK_MEANING, 2.5) | {"identical": True},
        "legs": {"first pack": {"wall_seconds": 10.04, "cpu_seconds": 9, "peak_mb": 146.2}},
        "files": {"dataset.zst": 784952316},
        "cores": 2,
    }
    reuse = {"summary": dict.fromkeys(page._REUSE_MEANING, 0.125) | {"identical": True}, "settings": {"cores": 2}}
    timed = {"median_ms": 41.2, "worst_ms": 50, "first_ms": 900, "cpu_ms": 12, "bytes": 70_000}
    monitor = {
        "summary": dict.fromkeys(page._MONITOR_MEANING, 3.5),
        "settings": {"cores": 2, "load": 0.4},
        "pages": {"overview": timed},
    }
    text = page.render(result, datasets, pack, reuse, monitor)
    assert "4 of the 68 packages of `corpus.txt`" in text
    assert "| `cpu_share` | 0.125 |" in text
    assert "8 files" in text
    assert "8 of the original, 0 of the engine" in text
    assert "- c: only the original: 2 ReDoS" in text
    assert "- d: the original gives no result (it broke)" in text
    assert "| b | 5 | 30.0 | 3.0 | 10.0 | 0.50 | 80 |" in text
    assert "| walking over syntax trees | 75% |" in text
    assert "| `changed_500_s` | 1.5 | seconds, when 500 packages changed |" in text
    assert "| changed_500 | 3.2 | 400 | 500 | extract 2.0 |" in text
    assert "| `identical` | yes |" in text
    assert "| first pack | 10.0 | 9.0 | 146 |" in text
    assert "| dataset.zst | 785.0 |" in text
    assert "| overview | 41 | 50 | 900 | 12 | 70 |" in text


def test_the_world_holds_what_both_sides_need(tmp_path: Path) -> None:
    wheel = tmp_path / "six-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("six.py", "x = 1\n")
        archive.writestr("six-1.dist-info/METADATA", "Name: six\nVersion: 1\nRequires-Dist: Attrs>=2; extra == 'x'\n")
    world = World(tmp_path / "world")
    release = world.add("six", "1", [wheel])
    world.write_dataset([release])
    (url,) = json.loads((world.web / "json" / "six").read_bytes())["releases"]["1"]
    assert (world.web / url["url"].removeprefix("file:///")).read_bytes() == wheel.read_bytes()
    assert json.loads((world.dataset / "reverse_dependencies.json").read_bytes()) == {"attrs": ["six"]}
    assert list(world.python_files(release)) == [b"x = 1\n"]


def test_the_profile_says_what_the_engine_does(tmp_path: Path) -> None:
    wheel = tmp_path / "six-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("six.py", "import os\n" + "x = os.path.join('a', str(1)).strip()\n" * 500)
    world = World(tmp_path / "world")
    areas = scan.measure_profile(world, [world.add("six", "1", [wheel])], tmp_path / "profile")
    assert next(iter(areas)) == "walking over syntax trees"
    assert {"making syntax trees", "files and paths", "records"} <= areas.keys()
