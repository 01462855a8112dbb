"""A scan with a fault in the middle of it, and the checks after it."""

import inspect
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from .aftermath import Published, check_dataset, check_nothing_is_left
from .catalogue import BY_ITSELF, ONE_CLEAR, Fault
from .faulty_world import FaultyWorld


@dataclass
class Undisturbed:
    """The world, what an undisturbed scan in it published, and every scan that is public since."""

    where: FaultyWorld
    reference: Published
    public: set[str] = field(default_factory=set)


@dataclass
class Ordeal:
    """What became of a run; kept up as it goes on, so that it also tells of one that did not pass."""

    ended: str = ""
    seconds: float = 0.0


def undergo(here: Undisturbed, fault: Fault, ordeal: Ordeal) -> None:
    """Scan, have the fault strike, mend what the fault says is to be mended, and check what is left."""
    where, started = here.where, time.monotonic()
    run = where.scan()
    strike: Iterator[None] | None = None
    try:
        strike = fault.strike(where, run)
        if inspect.isgenerator(strike):
            next(strike)
        state = run.until_ended()
        if inspect.isgenerator(strike):
            next(strike, None)
        ended = BY_ITSELF
        if state == "failed" and fault.ends == ONE_CLEAR:
            ended = ONE_CLEAR
            run.clear_failed()
            state = run.until_ended()
        assert state == "success", [(task["task_id"], task["map_index"]) for task in run.tasks("", "failed")]
        ordeal.ended = ended
        here.public.add(run.scan_id)
        check_dataset(where, run.scan_id, here.reference)
        check_nothing_is_left(where, run, here.public)
    finally:
        ordeal.seconds = time.monotonic() - started
        if inspect.isgenerator(strike):
            strike.close()
        where.recover()
        run.give_up()
        here.public |= where.public_scans()
