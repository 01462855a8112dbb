"""docs/scaling.md: the template scaling.md, filled from the result of the simulation."""

import json
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

_HERE = Path(__file__).resolve().parent
_RESULT = _HERE / "results" / "simulate.json"
_PAGE = _HERE.parent / "docs" / "scaling.md"
_SUMMARY = {
    "packages": "in the mirror and in the simulated scans",
    "plan_s": "seconds to plan and divide; measured on {cores} cores, Python {python}",
    "plan_peak_mb": "megabytes, planning and dividing; measured",
    "makespan_equal": "ratio, ten workers of 24 cores; simulated",
    "makespan_unequal": "ratio, ten unequal workers, of which two die; simulated",
    "tasks": "task instances of the run with ten equal workers; counted",
    "xcom_bytes": "bytes that its plan, its division and its shards return; counted",
}
_DRAWN = {
    "cpu_hours": "CPU hours of all packages together",
    "median_cost": "CPU seconds, the median package",
    "share_of_costliest_hundredth": "of all CPU time is that of the costliest hundredth of the packages",
    "files": "distribution files of all latest releases",
    "terabytes": "10^12 bytes, the same",
}
_ASSUMED = {
    "task_seconds": "seconds from the end of a task to the start of the next of its shard",
    "notice_seconds": "seconds until a job on a worker that died has failed",
    "start_seconds": "seconds in which a scan loads Aura",
    "mirror_rate": "bytes a second that the mirror sends in all",
    "worker_rate": "bytes a second that a worker takes at most",
    "file_bytes": "bytes that would take as long as it takes to begin another file",
}

Figures = dict[str, Any]


def write() -> Path:
    """Write the page from what the simulation last wrote to bench/results; return where it is."""
    _PAGE.write_text(render(json.loads(_RESULT.read_bytes())), encoding="utf-8")
    return _PAGE


def render(result: Figures) -> str:
    """Return the page about `result`, the content of simulate.json."""
    drawn, assumed = result["drawn"], result["assumed"]
    slow_bits = assumed["mirror_rate"] / result["settings"]["slow_mirror"] * 8
    return Template((_HERE / "scaling.md").read_text(encoding="utf-8")).substitute(
        summary=_figures(result["summary"], {key: text.format(**result["settings"]) for key, text in _SUMMARY.items()}),
        drawn=_figures(drawn, _DRAWN),
        runs=_lines(
            f"| {name} | {run['shards']} | {run['hours']:.1f} | {run['ratio']:.2f} | {run['disk_gb']:.0f} |"
            for name, run in result["runs"].items()
        ),
        assumed=_lines(f"| {text} | {assumed[key]:,.0f} |" for key, text in _ASSUMED.items()),
        slow_mirror=f"{slow_bits / 1e9:.1f}",
        terabytes=f"{drawn['terabytes']:.1f}",
        hours_at_1gbit=f"{drawn['terabytes'] * 1e12 / (slow_bits / 8) / 3600:.0f}",
    )


def _figures(values: Figures, meanings: dict[str, str]) -> str:
    return _lines(f"| `{key}` | {_figure(values[key])} | {meaning} |" for key, meaning in meanings.items())


def _figure(value: float | None) -> str:
    return "not run" if value is None else f"{value:,}"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
