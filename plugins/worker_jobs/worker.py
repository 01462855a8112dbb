"""A worker node as an Airflow SSH connection describes it, and a session on it.

Which connections are workers says the Airflow variable `WORKERS_VARIABLE`. Their extra holds, besides what the SSH
provider reads (``key_file``, ``host_key`` ...): ``work_dir``, an absolute path on the worker's fast disk; ``python``,
the interpreter of its scanner environment; ``cores``, how many packages it scans at a time (optional, else all its
cores); ``weight``, how fast one of its cores is beside those of the other workers (optional, else 1).
"""

import errno
import logging
import math
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import paramiko
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk import BaseHook, Variable
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from pypi_scan.names import printable
from pypi_scan.plan import SCAN_ID
from pypi_scan.redaction_key import REDACTION_KEY
from pypi_scan.shard import SHARD_ID
from worker_jobs.failures import CommandError, WorkerError, WorkerRefusedError, WorkerUnreachableError

log = logging.getLogger(__name__)

CONNECTION_ERRORS = (OSError, EOFError, paramiko.SSHException, paramiko.SFTPError)
"""What paramiko raises for a connection that cannot be made, breaks, or is silent for too long."""

WORKERS_VARIABLE = "pypi_workers"
"""The Airflow variable that lists the connections of the workers, separated by commas; `_DEFAULT_WORKER` if unset."""

_DEFAULT_WORKER = "pypi_worker"
_CONN_ID = re.compile(r"[\w.-]{1,200}", re.ASCII)
_ANSWERS = (errno.ENOENT, errno.EACCES)  # what SFTP servers say of a file; all else paramiko has no number for
_CONNECT_SECONDS = 20
_CONNECT_ATTEMPTS = 3
_UNCHECKED = ("no_host_key_check", "allow_host_key_change", "ignore_hostkey_verification")
_TRANSFER_SECONDS = 60.0  # without a byte, after which a transfer is given up
_MAX_OUTPUT_BYTES = 1024**2
_WORDS = 1000  # characters of what a program said last
_REQUESTS = 64  # of 32 KiB each: what is asked for and not yet written is in memory


def listed_workers() -> list[str]:
    """Return the connections that are workers at this moment; raises WorkerError if the variable cannot be used."""
    return parse_workers(Variable.get(WORKERS_VARIABLE, default=_DEFAULT_WORKER))


def parse_workers(text: str) -> list[str]:
    """Return the connections in the text of `WORKERS_VARIABLE`; raises WorkerError."""
    names = list(dict.fromkeys(text.replace(",", " ").split()))
    if not names or not all(map(_CONN_ID.fullmatch, names)):
        raise WorkerError(
            f"the variable {WORKERS_VARIABLE} is {text!r:.200}; write the ids of one or more SSH connections, "
            "separated by commas"
        )
    return names


@dataclass(frozen=True)
class Worker:
    """A worker node and where things lie on it."""

    conn_id: str
    work_dir: PurePosixPath
    python: str
    cores: int | None
    weight: float

    @classmethod
    def from_connection(cls, conn_id: str) -> "Worker":
        """Read the Airflow connection `conn_id`; raises WorkerError if its extra lacks what a worker needs."""
        extra = BaseHook.get_connection(conn_id).extra_dejson
        work_dir, python, cores = PurePosixPath(extra.get("work_dir") or ""), extra.get("python"), extra.get("cores")
        if not work_dir.is_absolute() or not work_dir.name or ".." in work_dir.parts or not python:
            raise WorkerError(
                f"the connection {conn_id} needs `work_dir` (an absolute path) and `python` in its extra; "
                "see the module worker_jobs.worker"
            )
        if unchecked := [name for name in _UNCHECKED if str(extra.get(name, "false")).lower() != "false"]:
            raise WorkerError(
                f"the connection {conn_id} has `{unchecked[0]}` in its extra; remove it, and put the worker's public "
                "host key there as `host_key`: whoever answers in its place would be given the scan"
            )
        if cores and not str(cores).isdecimal():
            raise WorkerError(f"the connection {conn_id} has {cores!r} as `cores` in its extra, not a whole number")
        weight = _positive(extra.get("weight") or 1)
        if weight is None:
            raise WorkerError(
                f"the connection {conn_id} has {extra['weight']!r:.80} as `weight` in its extra, not a number above 0"
            )
        return cls(conn_id, work_dir, python, int(cores) if cores else None, weight)

    def scan_dir(self, scan_id: str) -> PurePosixPath:
        """Everything of one scan; scans that overlap on a worker do not touch each other's."""
        return self.work_dir / "scans" / scan_id

    def scripts_dir(self, scan_id: str) -> PurePosixPath:
        """Where the programs of include/scripts are shipped to."""
        return self.scan_dir(scan_id) / "scripts"

    def dataset_dir(self, scan_id: str) -> PurePosixPath:
        """Where reverse_dependencies.json and pypi_stats.json, which Aura reads, are shipped to."""
        return self.scan_dir(scan_id) / "aura_dataset"

    def redaction_key(self, scan_id: str) -> PurePosixPath:
        """Where the key is shipped to that secrets are hashed with; it has a directory of its own."""
        return self.scan_dir(scan_id) / "redaction" / REDACTION_KEY

    def jobs_dir(self, scan_id: str) -> PurePosixPath:
        """Where each job has a directory, as include/scripts/job.py describes it."""
        return self.scan_dir(scan_id) / "jobs"

    def job_dir(self, scan_id: str, shard: str) -> PurePosixPath:
        """The directory of the job that works on a shard: there is one at most."""
        return self.jobs_dir(scan_id) / shard

    def shard_file(self, scan_id: str, shard: str) -> PurePosixPath:
        """The shard as the plan wrote it."""
        return self.scan_dir(scan_id) / "shards" / f"{shard}.jsonl.zst"

    def cache_dir(self, scan_id: str, shard: str) -> PurePosixPath:
        """The prefetched part of the mirror that the shard needs."""
        return self.scan_dir(scan_id) / "cache" / shard

    def results_dir(self, scan_id: str, shard: str) -> PurePosixPath:
        """What the scan of the shard writes."""
        return self.scan_dir(scan_id) / "results" / shard


class WorkerSession:
    """An open SSH connection to a worker. Made by `worker_session`."""

    def __init__(self, worker: Worker, client: paramiko.SSHClient) -> None:
        self.worker = worker
        self._client = client
        self._sftp = client.open_sftp()
        self._sftp.get_channel().settimeout(_TRANSFER_SECONDS)

    def run(self, command: Sequence[str | PurePosixPath], timeout: float = 60.0, stdin: bytes = b"") -> str:
        """Run a command, each argument as it is, and return its standard output.

        Raises CommandError with the last line of its standard error if it fails, and WorkerError if it is silent for
        `timeout` seconds, or if it writes more than a megabyte.
        """
        line = shlex.join(map(str, command))
        try:
            pipe, stdout, stderr = self._client.exec_command(line, timeout=timeout)
            pipe.write(stdin)
            pipe.channel.shutdown_write()
            output, errors = stdout.read(_MAX_OUTPUT_BYTES), stderr.read(_MAX_OUTPUT_BYTES)
            if _MAX_OUTPUT_BYTES in (len(output), len(errors)):
                raise self._error(f"{command[0]} wrote more than {_MAX_OUTPUT_BYTES} bytes")
            if not stdout.channel.status_event.wait(timeout):
                raise TimeoutError("it closed its output and went on")
            exit_code = stdout.channel.recv_exit_status()
        except CONNECTION_ERRORS as error:
            raise self._broken(f"{command[0]} did not answer", error) from error
        if exit_code != 0:
            said = last_words(errors.decode("utf-8", "replace"))
            raise CommandError(f"worker {self.worker.conn_id}: {said} (exit code {exit_code})", exit_code)
        return str(output, "utf-8", "replace")

    def make_dir(self, path: PurePosixPath) -> None:
        """Make a directory and its parents."""
        self.run(["mkdir", "-p", "--", path])

    def remove(self, path: PurePosixPath) -> None:
        """Remove a directory below the worker's work_dir with all it holds; nothing happens if it is not there."""
        if self.worker.work_dir not in path.parents or ".." in path.parts:
            raise ValueError(f"{path} is not below {self.worker.work_dir}")
        self.run(["rm", "-rf", "--", path], timeout=600.0)

    def put(self, source: Path, target: PurePosixPath) -> None:
        """Copy a file to the worker; it takes its name only when it is whole."""
        temporary = f"{target}.part"
        try:
            self._sftp.put(str(source), temporary)
            self._sftp.posix_rename(temporary, str(target))
        except CONNECTION_ERRORS as error:
            raise self._broken(f"{target} cannot be written", error) from error

    def get(self, source: PurePosixPath, target: Path, limit: int) -> None:
        """Copy a regular file of at most `limit` bytes from the worker; raises WorkerError for anything else."""
        try:
            found = self._sftp.lstat(str(source))
            if not stat.S_ISREG(found.st_mode or 0):
                raise self._error(f"{source} is not a regular file")
            size, copied = found.st_size or 0, 0
            if size > limit:
                raise self._error(f"{source} is larger than {limit} bytes")
            with self._sftp.open(str(source), "rb") as remote, target.open("wb") as local:
                remote.prefetch(size, max_concurrent_requests=_REQUESTS)
                while copied <= size and (block := remote.read(1 << 18)):
                    copied += len(block)
                    local.write(block)
            if copied != size:
                raise self._error(f"{source} changed while it was copied")
        except CONNECTION_ERRORS as error:
            raise self._broken(f"{source} cannot be read", error) from error

    def _error(self, what: str) -> WorkerError:
        return WorkerError(f"worker {self.worker.conn_id}: {what}")

    def _broken(self, what: str, error: Exception) -> WorkerError:
        answered = isinstance(error, OSError) and error.errno in _ANSWERS
        kind = WorkerError if answered else WorkerUnreachableError
        return kind(f"worker {self.worker.conn_id}: {what}: {error!r}")


@contextmanager
def worker_session(worker: Worker) -> Iterator[WorkerSession]:
    """Connect to a worker; raises WorkerError, in one sentence, if it cannot be reached or is not the one it was."""
    try:
        client = _connect(worker.conn_id)
    except Exception as error:
        raise connection_error(worker.conn_id, error) from error
    with client:
        try:
            session = WorkerSession(worker, client)
        except CONNECTION_ERRORS as error:
            raise WorkerUnreachableError(f"worker {worker.conn_id} offers no SFTP: {error!r}") from error
        yield session


def _may_pass(error: BaseException) -> bool:
    """Return whether a connection may come off at another try: a wrong key, tried again, looks like an attack."""
    refused = isinstance(error, Exception) and isinstance(connection_error("", error), WorkerRefusedError)
    return isinstance(error, CONNECTION_ERRORS) and not refused


@retry(
    stop=stop_after_attempt(_CONNECT_ATTEMPTS),
    wait=wait_random(2, 5),
    retry=retry_if_exception(_may_pass),
    reraise=True,
)
def _connect(conn_id: str) -> paramiko.SSHClient:
    return SSHHook(ssh_conn_id=conn_id, conn_timeout=_CONNECT_SECONDS, conn_retry_attempts=1).get_conn()


def connection_error(conn_id: str, error: Exception) -> WorkerUnreachableError:
    """Say in one sentence why a connection could not be made."""
    if isinstance(error, paramiko.BadHostKeyException):
        return WorkerRefusedError(
            f"worker {conn_id} shows another host key than the one pinned in its connection: do not go on unless you "
            "know why, then put the new key into the connection's extra `host_key`"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return WorkerRefusedError(f"worker {conn_id} does not accept the key of its connection: {error}")
    if "not found in known_hosts" in str(error):  # paramiko has no class of its own for it
        return WorkerRefusedError(
            f"worker {conn_id} shows a host key that is not known here: make sure that it is the right one, then put "
            "it into the connection's extra `host_key`"
        )
    if isinstance(error, CONNECTION_ERRORS):
        return WorkerUnreachableError(f"worker {conn_id} cannot be reached: {error}")
    return WorkerUnreachableError(f"the connection {conn_id} cannot be used: {error}")


def last_words(text: str) -> str:
    """Return the last line a program wrote, which is its ``error: <one sentence>`` if it is one of include/scripts."""
    lines = text.strip().splitlines() or ["no error message"]
    return printable(lines[-1].removeprefix("error: "), _WORDS)


def _positive(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def check_ids(scan_id: str, *shards: str) -> None:
    """Raise ValueError for what is not an id as a plan gives it: paths and commands are made of ids."""
    if not SCAN_ID.fullmatch(str(scan_id)) or not all(SHARD_ID.fullmatch(str(shard)) for shard in shards):
        raise ValueError(f"not a scan id and shard ids: {', '.join(map(repr, (scan_id, *shards)))}")
