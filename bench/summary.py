"""The arithmetic of the benchmark: from what was measured to the figures it is about."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
_SLOWEST = 10  # packages


@dataclass(frozen=True)
class Leg:
    """One run of one side over some packages: what the whole of it took."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Scan:
    """When a package was scanned (`started` in seconds since the epoch), how long, and the CPU time it took."""

    started: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Work:
    """Core-seconds that were there, and that were used, while packages were waiting."""

    given: float
    used: float


def work_while_waiting(scans: Iterable[Scan], cores: int) -> Work:
    """Return the use of `cores` from the start of the first package to the start of the last.

    Until the last one starts there is work for every core; after it some are idle whatever the engine does. The CPU
    time of a scan that is under way at that moment counts by the part of its duration that lies before.
    """
    scans = list(scans)
    if not scans:
        return Work(0, 0)
    first, last = min(scan.started for scan in scans), max(scan.started for scan in scans)
    used = sum(scan.cpu_seconds * _part_before(scan, last) for scan in scans)
    return Work((last - first) * cores, used)


def summarise(rows: list[Row], original: list[Leg], engine: list[Leg], work: list[Work], floor: float) -> Row:
    """Return the flat summary.

    `rows` are the packages, `original` and `engine` the legs of both sides, `work` what ``work_while_waiting`` says of
    each leg of the engine, `floor` the CPU seconds of the floor. A figure for which there is nothing to divide is None.
    """
    original_cpu, engine_cpu = (sum(leg.cpu_seconds for leg in legs) for legs in (original, engine))
    original_wall, engine_wall = (sum(leg.wall_seconds for leg in legs) for legs in (original, engine))
    several = [row for row in rows if row["files"] > 1]
    return {
        "packages": len(rows),
        "stock_scanned": sum(row["original"]["scanned"] for row in rows),
        "identical": sum(row["identical"] is True for row in rows),
        "engine_only": sum(row["engine"]["scanned"] and not row["original"]["scanned"] for row in rows),
        "cpu_ratio": _ratio(original_cpu, engine_cpu),
        "wall_ratio": _ratio(original_wall, engine_wall),
        "multi_file_cpu_ratio": _ratio(
            _with_share(several, rows, "original", original_cpu), _with_share(several, rows, "engine", engine_cpu)
        ),
        "floor_ratio": _ratio(engine_cpu, floor),
        "utilisation": _ratio(sum(one.used for one in work), sum(one.given for one in work)),
        "peak_ratio": _ratio(max(leg.peak_mb for leg in original), max(leg.peak_mb for leg in engine)),
        "peak_mb": round(max(leg.peak_mb for leg in engine), 1),
        "stock_peak_mb": round(max(leg.peak_mb for leg in original), 1),
        "stock_cpu_seconds": round(original_cpu, 1),
        "engine_cpu_seconds": round(engine_cpu, 1),
        "stock_wall_seconds": round(original_wall, 1),
        "engine_wall_seconds": round(engine_wall, 1),
        "floor_cpu_seconds": round(floor, 2),
    }


def slowest(rows: list[Row]) -> list[Row]:
    """Return the ten packages that cost the engine most, the costliest first."""
    return sorted(rows, key=lambda row: -row["engine"]["cpu_seconds"])[:_SLOWEST]


def ratios(original: Row, engine: Row) -> Row | None:
    """Return what one package took, original / engine; None if a side gave no result."""
    if not (original["scanned"] and engine["scanned"]):
        return None
    keys = {"cpu": "cpu_seconds", "wall": "seconds", "memory": "peak_mb"}
    return {name: _ratio(original[key], engine[key]) for name, key in keys.items()}


def _with_share(some: list[Row], rows: list[Row], side: str, total: float) -> float:
    """Return the CPU seconds of `some` of the `rows`, with their share of what belongs to no package."""
    if not rows:
        return 0
    beside: float = total - sum(row[side]["cpu_seconds"] for row in rows)
    own: float = sum(row[side]["cpu_seconds"] for row in some)
    return own + beside * len(some) / len(rows)


def _part_before(scan: Scan, moment: float) -> float:
    if scan.seconds <= 0:
        return 1.0 if scan.started <= moment else 0.0
    return min(1.0, max(0.0, (moment - scan.started) / scan.seconds))


def _ratio(above: float, below: float) -> float | None:
    return round(above / below, 3) if below else None
