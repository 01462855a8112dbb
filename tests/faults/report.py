"""What a run of all faults found, as figures and as a page."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FIGURES = PROJECT / "bench" / "results" / "faults.json"
PAGE = PROJECT / "docs" / "faults.md"

_HEAD = """# Faults

Written by `make test-faults`, which has each of these faults strike in the middle of a scan of the demo world: Airflow
on PostgreSQL, OpenSSH's sshd as worker, an S3 store, proxies between them. Services are started again when they die.
Airflow is set to miss a dead service within 15 seconds and to retry after 5, and a worker is waited for 45 seconds, not
ten minutes, which only makes the test shorter.

After each fault: the run has succeeded, by itself or after one clear of the failed tasks; the dataset and the status of
each package are the same, byte for byte, as those of an undisturbed scan; every package has one status and at most one
record; no process, lock, temporary file, multipart upload or half-published name is left; the worker's disk is free.

| fault | strikes when | what happens | the run ended | seconds | passed |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One fault: how its run ended, what it took, and if all checks held; `problem` says why not."""

    fault: str
    when: str
    what: str
    ended: str
    seconds: float
    commit: str
    passed: bool
    problem: str = ""


def write_report(rows: list[Row], order: list[str]) -> None:
    """Write the figures and the page: these rows, and in `order` those of earlier runs that they do not replace."""
    earlier = json.loads(FIGURES.read_text(encoding="utf-8"))["rows"] if FIGURES.exists() else []
    by_name = {row.fault: row for row in (*(Row(**each) for each in earlier), *rows)}
    rows = [by_name[name] for name in order if name in by_name]
    summary = {"faults": len(rows), "passed": sum(row.passed for row in rows)}
    figures = {"rows": [asdict(row) for row in rows], "summary": summary}
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")


def page(rows: list[Row]) -> str:
    """Return the page of these rows, in Markdown."""
    return _HEAD + "".join(
        f"| `{row.fault}` | {row.when} | {row.what} | {row.ended or row.problem} | {row.seconds:.0f} "
        f"| {'yes' if row.passed else 'no'} |\n"
        for row in rows
    )
