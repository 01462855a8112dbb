"""docs/benchmarks.md: the template page.md, filled from the results."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

from detections import NORMALISATIONS
from summary import slowest

_HERE = Path(__file__).resolve().parent
_RESULTS = _HERE / "results"
_PAGE = _HERE.parent / "docs" / "benchmarks.md"
_MEANING = {
    "packages": "given to both sides",
    "stock_scanned": "packages of which the original gives a result",
    "identical": "packages with the same detections on both sides",
    "engine_only": "packages that only the engine can scan",
    "cpu_ratio": "CPU time, original / engine",
    "wall_ratio": "wall time, original / engine",
    "multi_file_cpu_ratio": "CPU time, original / engine, of the releases with several files",
    "floor_ratio": "CPU time, engine / floor",
    "peak_ratio": "peak memory, original / engine",
    "utilisation": "of the given cores busy until the last package starts",
    "peak_mb": "megabytes, all processes of the engine",
    "stock_peak_mb": "megabytes, all processes of the original",
    "stock_cpu_seconds": "seconds, all processes of the original",
    "engine_cpu_seconds": "seconds, all processes of the engine",
    "stock_wall_seconds": "seconds, the original",
    "engine_wall_seconds": "seconds, the engine",
    "floor_cpu_seconds": "seconds",
}
_DATASETS_MEANING = {
    "packages": "JSON documents in the mirror",
    "full_ratio_to_decode": "time to make everything anew / time to read and decode the documents",
    "full_peak_mb": "megabytes, making everything anew",
    "changed_500_s": "seconds, when 500 packages changed",
    "changed_500_peak_mb": "megabytes, when 500 packages changed",
    "unchanged_s": "seconds, when nothing changed",
}
_PACK_MEANING = {
    "gb": "10^9 bytes of records",
    "ratio_to_zstd_md5": "wall time of the baseline / of the task pack",
    "ratio_with_editions": "wall time of the baseline / of the tasks editions and pack",
    "peak_mb": "megabytes, the task pack",
    "peak_mb_editions": "megabytes, the task editions",
    "identical": "whether both times every file had the same bytes",
}
_REUSE_MEANING = {
    "packages": "of the corpus",
    "changed": "packages with another release in the second scan",
    "changed_cpu_share": "CPU time of the full scan that these packages took",
    "cpu_share": "CPU time of scan_shard.py, with re-use / in full",
    "identical": "whether dataset.zst had the same bytes",
    "reuse_cpu_seconds": "seconds, all processes of scan_shard.py, with re-use",
    "full_cpu_seconds": "seconds, all processes of scan_shard.py, in full",
    "reuse_wall_seconds": "seconds, scan_shard.py, with re-use",
    "full_wall_seconds": "seconds, scan_shard.py, in full",
    "reuse_control_cpu_seconds": "seconds, plan to pack on the control host, with re-use",
    "full_control_cpu_seconds": "seconds, plan to pack on the control host, in full",
}
_MONITOR_MEANING = {
    "packages": "of each of two packed scans, and of one that runs",
    "detections": "of the scan that the pages are about",
    "pages": "that were asked for, one after the other",
    "slowest_ms": "milliseconds, the slowest page, in the median",
    "slowest_cpu_ms": "milliseconds of CPU time of the API server, the page that takes most",
    "slowest_first_ms": "milliseconds, the slowest page the first time, when nothing was read yet",
    "ratio_to_plain_query": "time of the plain query / of the slowest page",
    "ratio_to_reading_all": "time to read all records / of the slowest page",
}

Row = dict[str, Any]


def write() -> Path:
    """Write the page from what the benchmarks last wrote to bench/results; return where it is."""
    names = ("scan.json", "datasets.json", "pack.json", "reuse.json", "monitor.json")
    scan, datasets, pack, reuse, monitor = (json.loads((_RESULTS / name).read_bytes()) for name in names)
    _PAGE.parent.mkdir(parents=True, exist_ok=True)
    _PAGE.write_text(render(scan, datasets, pack, reuse, monitor), encoding="utf-8")
    return _PAGE


def render(result: Row, datasets: Row, pack: Row, reuse: Row, monitor: Row) -> str:
    """Return the page about `result`, the content of scan.json, and those of the other files."""
    rows: list[Row] = result["packages"]
    summary, areas = result["summary"], result["profile"]
    return Template((_HERE / "page.md").read_text(encoding="utf-8")).substitute(
        scope=_scope(result),
        summary=_figures(summary, _MEANING),
        rounds=result["settings"]["rounds"],
        normalisations=_lines(f"- {name}: {reason}" for name, reason in NORMALISATIONS.items()),
        left_out=", ".join(f"{_left_out(rows, side)} of the {side}" for side in ("original", "engine")),
        differences=_differences(rows),
        slowest=_lines(map(_slow, slowest(rows))),
        profile=_lines(
            f"| {area} | {seconds / sum(areas.values()):.0%} |"
            for area, seconds in sorted(areas.items(), key=lambda item: -item[1])
        ),
        packages=_lines(map(_package, rows)),
        datasets_summary=_figures(datasets["summary"], _DATASETS_MEANING),
        datasets_runs=_lines(_dataset_run(name, run) for name, run in datasets["runs"].items()),
        datasets_cores=datasets["settings"]["cores"],
        datasets_python=datasets["settings"]["python"],
        pack_summary=_figures(pack["summary"], _PACK_MEANING),
        pack_runs=_lines(
            f"| {name} | {leg['wall_seconds']:.1f} | {leg['cpu_seconds']:.1f} | {leg['peak_mb']:.0f} |"
            for name, leg in pack["legs"].items()
        ),
        pack_files=_lines(f"| {name} | {size / 1e6:.1f} |" for name, size in pack["files"].items()),
        pack_cores=pack["cores"],
        reuse_cores=reuse["settings"]["cores"],
        reuse_summary=_figures(reuse["summary"], _REUSE_MEANING),
        monitor_summary=_figures(monitor["summary"], _MONITOR_MEANING),
        monitor_pages=_lines(_monitor_page(name, page) for name, page in monitor["pages"].items()),
        monitor_cores=monitor["settings"]["cores"],
        monitor_load=monitor["settings"]["load"],
    )


def _scope(result: dict[str, Any]) -> str:
    rows, settings = result["packages"], result["settings"]
    files, size = sum(row["files"] for row in rows), sum(row["bytes"] for row in rows)
    several = sum(row["files"] > 1 for row in rows)
    legs = [leg for side in result["legs"].values() for leg in side]
    elsewhere = sum(leg["elsewhere"] * leg["wall_seconds"] for leg in legs) / sum(leg["wall_seconds"] for leg in legs)
    sentences = (
        f"The last run: {len(rows)} of the {settings['corpus_packages']} packages of `{settings['corpus']}`,",
        f"{files} files, {size / 1e6:.1f} MB, {several} releases with several files;",
        f"{settings['cores']} cores ({settings['machine']}), Python {settings['python']}.",
        f"Other processes of the machine kept {elsewhere:.1f} cores busy meanwhile:",
        "wall time and utilisation are the worse for it.",
    )
    return _lines(sentences)


def _left_out(rows: list[Row], side: str) -> int:
    return sum(row[side]["left_out"] for row in rows)


def _differences(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        if row["identical"] is False:
            sides = (("original", row["only_original"]), ("engine", row["only_engine"]))
            texts = (f"only the {side}: {_counts(found['by_type'])}" for side, found in sides if found["by_type"])
            lines.append(f"- {row['name']}: {'; '.join(texts)}")
        elif row["identical"] is None:
            failed = [side for side in ("original", "engine") if not row[side]["scanned"]]
            reasons = (f"the {side} gives no result ({row[side]['reason']})" for side in failed)
            lines.append(f"- {row['name']}: {'; '.join(reasons)}")
    return _lines(lines) or "Nothing."


def _counts(by_type: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(by_type).most_common())


def _slow(row: Row) -> str:
    floor = f"{row['floor']['cpu_seconds']:.2f}"
    return f"| {row['name']} | {row['files']} | {_costs(row)} | {floor} | {row['engine']['peak_mb']:.0f} |"


def _package(row: Row) -> str:
    same = {True: "yes", False: "no", None: ""}[row["identical"]]
    return f"| {row['name']} {row['version']} | {row['files']} | {row['detections']} | {same} | {_costs(row)} |"


def _costs(row: Row) -> str:
    ratio = f"{row['ratio']['cpu']:.1f}" if row["ratio"] and row["ratio"]["cpu"] else ""
    return f"{row['original']['cpu_seconds']:.1f} | {row['engine']['cpu_seconds']:.1f} | {ratio}"


def _dataset_run(name: str, run: Row) -> str:
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in run.get("steps", {}).items())
    return f"| {name} | {run['seconds']:.1f} | {run['peak_mb']} | {run['documents_read']} | {steps} |"


def _monitor_page(name: str, page: Row) -> str:
    times = (f"{page[key]:.0f}" for key in ("median_ms", "worst_ms", "first_ms", "cpu_ms"))
    return f"| {name} | {' | '.join(times)} | {page['bytes'] / 1000:.0f} |"


def _figures(summary: Row, meanings: dict[str, str]) -> str:
    return _lines(f"| `{key}` | {_figure(summary[key])} | {meaning} |" for key, meaning in meanings.items())


def _figure(value: float | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
