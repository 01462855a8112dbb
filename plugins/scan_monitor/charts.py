"""The geometry of charts: pages draw them as SVG, of numbers alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pypi_scan.monitor.mirror_facts import HourOfChanges
from pypi_scan.monitor.timeline import Timeline, WorkerRow

WIDTH = 1000.0  # of all charts, in their own units
_ROW = 22.0
_GAP = 6.0


class Column(NamedTuple):
    """A column of a chart of changes, which stands on its ground line."""

    x: float
    y: float
    width: float
    height: float
    hour: HourOfChanges


class Piece(NamedTuple):
    """A part of a stacked bar."""

    name: str
    number: int
    x: float
    width: float


class Span(NamedTuple):
    """A shard in the row of a worker."""

    x: float
    width: float
    shard: str
    seconds: float
    running: bool


class Row(NamedTuple):
    """The row of a worker in the chart of the timeline."""

    y: float
    height: float
    worker: WorkerRow
    spans: Sequence[Span]


def columns(hours: Sequence[HourOfChanges], height: float) -> list[Column]:
    """Return a column for each hour; the highest is as high as the chart."""
    most = max((hour.changed for hour in hours), default=0) or 1
    step = WIDTH / len(hours)
    return [
        Column(number * step, height - tall, step * 0.8, tall, hour)
        for number, hour in enumerate(hours)
        for tall in [height * hour.changed / most]
    ]


def stacked(numbers: Mapping[str, int]) -> list[Piece]:
    """Return the parts of a bar that stand for numbers, each wide enough to be seen."""
    total = sum(numbers.values())
    shown = {name: number for name, number in numbers.items() if number}
    least = WIDTH / 250
    wide = {name: max(WIDTH * number / total, least) for name, number in shown.items()}
    scale = WIDTH / (sum(wide.values()) or 1)
    pieces, x = [], 0.0
    for name, number in shown.items():
        pieces.append(Piece(name, number, x, wide[name] * scale))
        x += wide[name] * scale
    return pieces


def rows(drawn: Timeline) -> list[Row]:
    """Return a row for each worker of a timeline."""
    start, seconds = drawn.start or 0.0, max((drawn.end or 0.0) - (drawn.start or 0.0), 1e-3)
    return [
        Row(
            number * (_ROW + _GAP),
            _ROW,
            worker,
            [
                Span(
                    WIDTH * (bar.start - start) / seconds,
                    WIDTH * (bar.end - bar.start) / seconds,
                    bar.shard,
                    bar.end - bar.start,
                    bar.running,
                )
                for bar in worker.bars
            ],
        )
        for number, worker in enumerate(drawn.rows)
    ]
