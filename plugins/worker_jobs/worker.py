"""A worker node as an Airflow SSH connection describes it, and a session on it.

The connection's extra holds, besides what the SSH provider reads (``key_file``, ``host_key`` ...):
``work_dir``, an absolute path on the worker's fast disk; ``python``, the interpreter of its scanner environment;
``cores``, how many packages it scans at a time (optional, else all its cores).
"""

import logging
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import paramiko
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 20


class WorkerError(AirflowException):
    """A worker cannot be used, or did not do what it was told. The message is one sentence a person can act on."""


@dataclass(frozen=True)
class Worker:
    """A worker node and where things lie on it."""

    conn_id: str
    work_dir: PurePosixPath
    python: str
    cores: int | None

    @classmethod
    def from_connection(cls, conn_id: str) -> "Worker":
        """Read the Airflow connection `conn_id`; raises WorkerError if its extra lacks what a worker needs."""
        extra = BaseHook.get_connection(conn_id).extra_dejson
        work_dir, python, cores = extra.get("work_dir"), extra.get("python"), extra.get("cores")
        if not work_dir or not PurePosixPath(work_dir).is_absolute() or not python:
            raise WorkerError(
                f"the connection {conn_id} needs `work_dir` (an absolute path) and `python` in its extra; "
                "see the module worker_jobs.worker"
            )
        return cls(conn_id, PurePosixPath(work_dir), python, int(cores) if cores else None)

    @property
    def scripts_dir(self) -> PurePosixPath:
        """Where the programs of include/scripts are shipped to."""
        return self.work_dir / "scripts"

    @property
    def dataset_dir(self) -> PurePosixPath:
        """Where reverse_dependencies.json and pypi_stats.json, which Aura reads, are shipped to."""
        return self.work_dir / "aura_dataset"

    def scan_dir(self, scan_id: str) -> PurePosixPath:
        """Everything of one scan."""
        return self.work_dir / "scans" / scan_id

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

    def run(self, command: Sequence[str | PurePosixPath], timeout: float = 60.0) -> str:
        """Run a command, each argument as it is, and return its standard output.

        Raises WorkerError with the last line of its standard error if it fails, or is silent for `timeout` seconds.
        """
        line = shlex.join(map(str, command))
        try:
            _, stdout, stderr = self._client.exec_command(line, timeout=timeout)
            output: str = stdout.read().decode("utf-8", "replace")
            errors = stderr.read().decode("utf-8", "replace")
            exit_code = stdout.channel.recv_exit_status()
        except (TimeoutError, paramiko.SSHException, OSError) as error:
            raise WorkerError(f"worker {self.worker.conn_id}: {command[0]} did not answer: {error!r}") from error
        if exit_code != 0:
            reason = (errors.strip().splitlines() or ["no error message"])[-1]
            raise WorkerError(f"worker {self.worker.conn_id}: {reason.removeprefix('error: ')} (exit code {exit_code})")
        return output

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
        except OSError as error:
            raise WorkerError(f"worker {self.worker.conn_id}: {target} cannot be written: {error}") from error

    def get(self, source: PurePosixPath, target: Path, limit: int) -> None:
        """Copy a regular file of at most `limit` bytes from the worker; raises WorkerError for anything else."""
        try:
            found = self._sftp.lstat(str(source))
            if not stat.S_ISREG(found.st_mode or 0):
                raise WorkerError(f"worker {self.worker.conn_id}: {source} is not a regular file")
            with self._sftp.open(str(source), "rb") as remote, target.open("wb") as local:
                remote.prefetch(min(found.st_size or 0, limit))
                copied = 0
                while block := remote.read(1 << 18):
                    copied += len(block)
                    if copied > limit:
                        raise WorkerError(f"worker {self.worker.conn_id}: {source} is larger than {limit} bytes")
                    local.write(block)
        except OSError as error:
            raise WorkerError(f"worker {self.worker.conn_id}: {source} cannot be read: {error}") from error


@contextmanager
def worker_session(worker: Worker) -> Iterator[WorkerSession]:
    """Connect to a worker; raises WorkerError, in one sentence, if it cannot be reached or is not the one it was."""
    try:
        client = SSHHook(ssh_conn_id=worker.conn_id, conn_timeout=_CONNECT_SECONDS).get_conn()
    except Exception as error:
        raise connection_error(worker.conn_id, error) from error
    with client:
        yield WorkerSession(worker, client)


def connection_error(conn_id: str, error: Exception) -> WorkerError:
    """Say in one sentence why a connection could not be made."""
    if isinstance(error, paramiko.BadHostKeyException):
        return WorkerError(
            f"worker {conn_id} shows another host key than the one pinned in its connection: do not go on unless you "
            "know why, then put the new key into the connection's extra `host_key`"
        )
    if isinstance(error, paramiko.AuthenticationException):
        return WorkerError(f"worker {conn_id} does not accept the key of its connection: {error}")
    if isinstance(error, (paramiko.SSHException, OSError)):
        return WorkerError(f"worker {conn_id} cannot be reached: {error}")
    return WorkerError(f"the connection {conn_id} cannot be used: {error}")
