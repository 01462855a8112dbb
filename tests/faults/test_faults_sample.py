"""One of the faults, so that every test run shows that it can still be injected; `make test-faults` has them all."""

import pytest

from .catalogue import FAULTS
from .ordeal import Ordeal, Undisturbed, undergo

pytestmark = pytest.mark.world

_SAMPLE = "scan_killed"


def test_a_fault(undisturbed: Undisturbed) -> None:
    (fault,) = (fault for fault in FAULTS if fault.name == _SAMPLE)
    undergo(undisturbed, fault, Ordeal())
