"""Every fault, one after the other in one world; `make test-faults` runs this file, `make test` does not."""

from collections.abc import Iterator

import pytest

from .catalogue import FAULTS, Fault
from .ordeal import Ordeal, Undisturbed, undergo
from .report import Row, write_report

pytestmark = pytest.mark.world


@pytest.fixture(scope="session")
def rows() -> Iterator[list[Row]]:
    """A row for each fault; they are written down once there is one for every fault."""
    rows: list[Row] = []
    yield rows
    if [row.fault for row in rows] == [fault.name for fault in FAULTS]:
        write_report(rows)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(undisturbed: Undisturbed, rows: list[Row], fault: Fault) -> None:
    ordeal, problem = Ordeal(), "did not pass"
    try:
        undergo(undisturbed, fault, ordeal)
        problem = ""
    finally:
        row = Row(fault.name, fault.when, fault.what, ordeal.ended, round(ordeal.seconds, 1), not problem, problem)
        rows.append(row)
        print(f"{row.fault}: {row.problem or row.ended}, {row.seconds:.0f} s", flush=True)
