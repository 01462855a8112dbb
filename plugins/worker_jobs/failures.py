"""What can be wrong with a worker or a job on it, and whether trying again may help."""

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowException


class WorkerError(AirflowException):
    """A worker cannot be used, or did not do what it was told. The message is one sentence a person can act on."""


class WorkerUnreachableError(WorkerError):
    """A worker cannot be connected to, is not the one it was, or the connection to it broke."""


class WorkerRefusedError(WorkerUnreachableError):
    """A worker shows another host key than the pinned one, or does not accept the key of its connection."""


class CommandError(WorkerError):
    """A command on a worker failed with `exit_code`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class JobLostError(WorkerError):
    """A job is gone, as it was killed or its machine has restarted. What it has done is still there."""


class OutOfRoomError(WorkerError):
    """There is no room on a disk of the worker."""


class OutOfMemoryError(WorkerError):
    """The worker has no memory left."""


class JobTimeoutError(WorkerError):
    """A job was not done after its time limit, and was ended. What it has done is still there."""


class ScannerBrokenError(WorkerError):
    """The scanner of the worker does not work, whatever it is to scan."""


class BadResultsError(WorkerError):
    """What a worker has returned is not what it should be."""


RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[WorkerRefusedError, ScannerBrokenError, ValueError],
            action=RetryAction.FAIL,
            reason="trying again would give the same: a person has to look at it, then clear the task",
        ),
        RetryRule(exception=JobLostError, retry_delay=timedelta(seconds=10), reason="it goes on where it stopped"),
        RetryRule(
            exception=[OutOfRoomError, OutOfMemoryError],
            retry_delay=timedelta(minutes=3),
            reason="other shards may end and give room",
        ),
        RetryRule(
            exception=WorkerUnreachableError,
            retry_delay=timedelta(minutes=2),
            reason="a job that still runs is followed again",
        ),
    ]
)
"""For tasks that do something on a worker; what it does not name is tried again as the DAG says."""
