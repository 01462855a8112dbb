"""Every fault, one after the other in one world; `make test-faults` runs this file, `make test` does not."""

import subprocess
from collections.abc import Iterator

import pytest

from .aftermath import eventually_none
from .catalogue import FAULTS, Fault
from .ordeal import Ordeal, Undisturbed, undergo
from .report import PROJECT, Row, write_report

pytestmark = pytest.mark.world


@pytest.fixture(scope="session")
def rows() -> Iterator[list[Row]]:
    """A row for each fault that was chosen; they are written down at the end."""
    rows: list[Row] = []
    yield rows
    write_report(rows, [fault.name for fault in FAULTS])


@pytest.fixture(scope="session")
def commit() -> str:
    """What is tested."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(undisturbed: Undisturbed, rows: list[Row], commit: str, fault: Fault) -> None:
    ordeal, problem = Ordeal(), "did not pass"
    try:
        undergo(undisturbed, fault, ordeal)
        problem = ""
    except pytest.skip.Exception as reason:
        problem = str(reason)
        raise
    finally:
        seconds = round(ordeal.seconds, 1)
        row = Row(fault.name, fault.when, fault.what, ordeal.ended, seconds, commit, not problem, problem)
        rows.append(row)
        print(f"{row.fault}: {row.problem or row.ended}, {row.seconds:.0f} s", flush=True)


def test_deleting_the_dag_ends_its_jobs(undisturbed: Undisturbed) -> None:
    where = undisturbed.where
    run = where.scan()
    run.until_scanning()
    where.airflow.request("DELETE", "/dags/global_scan")
    eventually_none(where.on_worker, "jobs of a DAG that was deleted", 60)
