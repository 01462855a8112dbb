"""What include/scripts/job.py is told, and what it says: untrusted, as all that comes from a worker."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec

from pypi_scan.names import printable
from pypi_scan.scan_progress import Count, Rate
from worker_jobs.failures import (
    JobLostError,
    JobTimeoutError,
    OutOfMemoryError,
    OutOfRoomError,
    ScannerBrokenError,
    WorkerError,
)
from worker_jobs.worker import Worker

MAX_STATUS_BYTES = 512 * 1024
"""What one status may have: the log in it takes up to six bytes a byte."""

_FAILURES: dict[str, type[WorkerError]] = {
    "out_of_room": OutOfRoomError,
    "out_of_memory": OutOfMemoryError,
    "scanner_broken": ScannerBrokenError,
    "timed_out": JobTimeoutError,
    "killed": JobLostError,
    "lost": JobLostError,
    "ended": JobLostError,
    "taken_over": JobLostError,
}


class JobProgress(msgspec.Struct, frozen=True):
    """How far a program of a job is, in items; `rate` is in items a second."""

    label: Annotated[str, msgspec.Meta(max_length=200)]
    done: Count
    failed: Count
    total: Count
    rate: Rate | None


class JobStatus(msgspec.Struct, frozen=True):
    """A status as job.py describes it."""

    how: Literal[
        "running",
        "done",
        "failed",
        "out_of_room",
        "out_of_memory",
        "scanner_broken",
        "timed_out",
        "ended",
        "killed",
        "lost",
        "taken_over",
    ]
    exit_code: int | None
    message: Annotated[str, msgspec.Meta(max_length=1000)]
    log: Annotated[str, msgspec.Meta(max_length=64 * 1024)]
    position: Count
    more: bool
    progress: JobProgress | None


def read_status(worker: str, text: str | bytes) -> JobStatus:
    """Return the status that job.py has printed on a worker; raises JobLostError if it is none."""
    try:
        return msgspec.json.decode(text, type=JobStatus)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise JobLostError(f"worker {worker}: job.py said {text[:200]!r}, not a status") from None


class Program(msgspec.Struct, frozen=True):
    """A program that is to run on a worker, for so many seconds at most."""

    command: list[str]
    seconds: int


def job_order(programs: list[Program]) -> bytes:
    """Return what ``job.py start`` reads: programs to run one after the other."""
    return msgspec.json.encode({"programs": programs})


def job_command(worker: Worker, scan_id: str, command: str, *arguments: str | PurePosixPath) -> list[str]:
    """Return the command line of job.py on a worker; it needs nothing but Python, and so starts at once."""
    return [worker.python, "-ES", str(worker.scripts_dir(scan_id) / "job.py"), command, *map(str, arguments)]


def job_error(how: str, message: str, exit_code: int | None) -> WorkerError:
    """Return the exception for a job that did not end well."""
    code = "" if exit_code is None else f" (exit code {exit_code})"
    return _FAILURES.get(how, WorkerError)(printable(message, 1200) + code)
