"""What every program of this directory has in common: how it logs, and how it says that it failed."""

import errno
import fcntl
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from exit_codes import FAILED, OUT_OF_MEMORY, OUT_OF_ROOM

log = logging.getLogger(__name__)


class ProgramError(Exception):
    """The program as a whole failed; the message is one sentence: what, why, what to do."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(main: Callable[[], None]) -> None:
    """Run `main` and exit: 0, or one of exit_codes.py after ``error: <one sentence>`` as the last line on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main()
    except ProgramError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _fail(
            f"{error}; check the paths, their permissions and the free space, then run the same command again",
            OUT_OF_ROOM if full else FAILED,
        )
    except MemoryError:
        _fail("this machine has no memory left; run the same command again once it has", OUT_OF_MEMORY)
    except KeyboardInterrupt:
        _fail("stopped by a signal; run the same command again to go on where it stopped")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Make `directory` and hold it: a second program that wants it waits here until the first has ended.

    A job whose control host lost sight of it may still run when it is started once more.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting: another run works in %s", directory)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # children that live on have the file open too


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(sentence: str, exit_code: int = FAILED) -> None:
    sys.stdout.flush()
    for handler in logging.getLogger().handlers:
        handler.acquire()  # and never released: a thread that still runs must not log after the last line
    print("error:", " ".join(sentence.split()), file=sys.stderr, flush=True)
    sys.exit(exit_code)
