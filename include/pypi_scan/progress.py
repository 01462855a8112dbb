"""Log lines that tell how far long work has come."""

import logging
import time
from collections.abc import Iterable, Iterator

log = logging.getLogger(__name__)

INTERVAL = 10.0  # seconds between two lines


def with_progress[T](items: Iterable[T], what: str) -> Iterator[T]:
    """Yield `items`, and log every few seconds how many went through: ``<what>: 12000``."""
    logged = time.monotonic()
    for count, item in enumerate(items):
        if time.monotonic() - logged >= INTERVAL:
            logged = time.monotonic()
            log.info("%s: %d", what, count)
        yield item
