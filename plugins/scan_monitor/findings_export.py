"""Findings as files."""

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from pypi_scan.monitor.findings import Finding

# A spreadsheet takes a cell that begins so for a formula, and attackers write the cells.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a header and a row a finding, tags in one cell; an apostrophe stands before what would be a formula."""
    yield _row(Finding._fields)
    for finding in findings:
        yield _row(_cell(value) for value in (*finding[:-1], " ".join(finding.tags)))


def json_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a JSON object a finding, one line each."""
    for finding in findings:
        yield msgspec.json.encode(finding._asdict()).decode() + "\n"


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _row(cells: Iterable[object]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue()
