"""Run programs one after the other as a job of this machine, which lives on when the connection to it ends.

A job is a directory. ``start`` runs the programs that it is given on stdin, unless the same ones run there already or
have ended well and nobody knows yet: then whoever asks becomes the job's owner, and nothing is started. ``look`` says
how it goes, ``end`` ends it. All of them print one JSON line, a status:

    {"how", "exit_code", "message", "log", "position", "more", "progress"}

``how`` is "running", "done", "failed", "out_of_room", "out_of_memory", "scanner_broken", "timed_out", "ended" (by
``end``), "killed" (by anybody else), "lost" (with all of the machine) or "taken_over" (by another owner); ``log`` is
what the programs wrote since ``position`` was last told, and ``more`` whether there is more of it; ``progress`` is what
they left in ``progress.json``.

The directory holds ``state``, a JSON object of a fixed size that is written in place, so that how a job ended can be
written on a full disk; ``order.json``, what was on stdin; ``log``; and ``progress.json``.
"""

import argparse
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import exit_codes

_STATE_BYTES = 16 * 1024  # more than a message can take, escaped
_LOG_BYTES = 48 * 1024  # told at a time
_PROGRESS_BYTES = 1024
_MESSAGE_CHARACTERS = 1000
_STOP_SECONDS = 20.0  # a program may take to end when it is asked to
_START_SECONDS = 20.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1  # prctl(2)
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM}
_HOW = {
    exit_codes.OUT_OF_ROOM: "out_of_room",
    exit_codes.OUT_OF_MEMORY: "out_of_memory",
    exit_codes.SCANNER_BROKEN: "scanner_broken",
}
_VMSTAT, _CGROUP_EVENTS = Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")

_libc = ctypes.CDLL(None)


class Job:
    """The job in `directory`; its methods are to be called with the lock held, as `locked` does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"

    @contextmanager
    def locked(self) -> Iterator[dict[str, Any]]:
        """Yield the state, empty if the job was never started, and write it back if it was changed."""
        descriptor = os.open(self.directory / "state", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = os.pread(descriptor, _STATE_BYTES, 0)
            try:
                state = json.loads(before)
            except ValueError:  # a new job, or one whose machine lost power when it was new
                state = {}
            yield state
            after = json.dumps(state).encode().ljust(_STATE_BYTES)
            if after != before:
                os.pwrite(descriptor, after, 0)
        finally:
            os.close(descriptor)

    def status(self, state: dict[str, Any], owner: str) -> dict[str, Any]:
        """Return the status of a job for its `owner`."""
        alive = _is_alive(state)
        if state.get("owner") != owner:
            how, exit_code, message = "taken_over", None, "another attempt has taken the job over"
        elif end := state.get("end"):
            how, exit_code, message = end["how"], end["exit_code"], end["message"]
        elif alive:
            how, exit_code, message = "running", None, ""
        else:
            how, exit_code, message = "lost", None, "the job is gone: it was killed, or its machine has restarted"
            _kill_group(state)
        seen = state.get("seen", 0)
        text, more = (b"", False) if how == "taken_over" else self._read_log(seen)
        return {
            "how": how,
            "exit_code": exit_code,
            "message": message,
            "log": text.decode("utf-8", "replace"),
            "position": seen + len(text),
            "more": more,
            "progress": self._progress(),
        }

    def _read_log(self, position: int) -> tuple[bytes, bool]:
        """Return whole lines of the log from `position`, and whether there is more; lines of any length end."""
        try:
            with self.log.open("rb") as file:
                file.seek(position)
                text = file.read(_LOG_BYTES)
                more = bool(file.read(1))
        except FileNotFoundError:
            return b"", False
        return (text[: text.rfind(b"\n") + 1] or text) if more else text, more

    def _progress(self) -> Any:
        try:
            with (self.directory / "progress.json").open("rb") as file:
                return json.loads(file.read(_PROGRESS_BYTES))
        except (OSError, ValueError):
            return None


def start(job: Job, owner: str, order: bytes) -> dict[str, Any]:
    """Become the owner of a job that does `order`, JSON: ``{"programs": [{"command": [...], "seconds": limit}]}``."""
    job.directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(order).hexdigest()
    while True:
        with job.locked() as state:
            done = state.get("end", {}).get("how") == "done"
            if (done or _is_alive(state)) and state["order"] == digest and not state.get("ending"):
                state["owner"] = owner
                return job.status(state, owner)
            running = dict(state)
            if not _is_alive(state):
                _kill_group(state)
                state.clear()
                state.update(order=digest, owner=owner)
                (job.directory / "order.json").write_bytes(order)
                (job.directory / "progress.json").unlink(missing_ok=True)
                _spawn(job, state)
                return job.status(state, owner)
        _end(running, wait=True)


def look(job: Job, owner: str, position: int | None) -> dict[str, Any]:
    """Return the status of a job, whose log up to `position` the owner has got."""
    with job.locked() as state:
        if position is not None and state.get("owner") == owner:
            state["seen"] = position
        return job.status(state, owner)


def end(job: Job, owner: str | None, *, wait: bool) -> None:
    """Have a job ended, if it is there and has this owner, None being anybody; `wait` until it has."""
    if not (job.directory / "state").exists():
        return
    with job.locked() as state:
        if owner not in (None, state.get("owner")) or not _is_alive(state):
            return
        state["ending"] = True
        running = dict(state)
    _end(running, wait=wait)


def supervise(directory: Path) -> None:
    """Run the programs of a job; whoever starts this holds its lock until this process is ready."""
    job = Job(directory)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.write(1, b".")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with job.locked():
        order = json.loads((directory / "order.json").read_bytes())
    how, exit_code, message = _run_all(job, order["programs"])
    with job.locked() as state:
        state["end"] = {"how": how, "exit_code": exit_code, "message": message[:_MESSAGE_CHARACTERS]}
    os.killpg(0, signal.SIGKILL)  # this process too: nothing of a job that has ended lives on


def _run_all(job: Job, programs: list[dict[str, Any]]) -> tuple[str, int | None, str]:
    """Run programs one after the other; return how the job ended, the exit code that it ended with, and a sentence."""
    for program in programs:
        command, seconds, oom_kills = program["command"], program["seconds"], _oom_kills()
        try:
            process = _run(job, command)
        except OSError as error:
            return "failed", None, f"{command[0]} cannot be started: {error.strerror}"
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                _stop(process)
                return "timed_out", process.returncode, f"not done after its limit of {seconds} seconds"
            received = signal.sigtimedwait(_SIGNALS, left)
            if received and received.si_signo == signal.SIGTERM:
                _stop(process)
                return "ended", process.returncode, "ended, as it was asked to"
        if process.returncode == -signal.SIGKILL and _oom_kills() > oom_kills:
            return "out_of_memory", process.returncode, "it was killed by the kernel, as memory ran out"
        if process.returncode < 0:
            return "killed", process.returncode, f"it was killed by {signal.Signals(-process.returncode).name}"
        if process.returncode:
            return _HOW.get(process.returncode, "failed"), process.returncode, _last_line(job)
    return "done", 0, ""


def _last_line(job: Job) -> str:
    """Return the last line a program wrote, which is its ``error: <one sentence>`` if it is one of this directory."""
    with job.log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return (lines or ["no error message"])[-1].removeprefix("error: ")


def _run(job: Job, command: list[str]) -> "subprocess.Popen[bytes]":
    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # without its supervisor nobody would know how it ends

    with job.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=in_child)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    process.kill()
    process.wait()


def _spawn(job: Job, state: dict[str, Any]) -> None:
    """Start the supervisor, and note which process it is. It goes on once the lock is given back."""
    with job.log.open("wb") as log:
        command = [sys.executable, "-ES", __file__, "supervise", str(job.directory)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout
    if not process.stdout.read(1):
        raise OSError(f"the job did not start: {_last_line(job)}")
    state.update(pid=process.pid, started=_started(process.pid), boot=_boot())


def _end(state: dict[str, Any], *, wait: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(state["pid"], signal.SIGTERM)  # it ends the program, and kills what is left after a while
    deadline = time.monotonic() + _STOP_SECONDS + _START_SECONDS
    while wait and _is_alive(state):
        if time.monotonic() > deadline:
            _kill_group(state)
        time.sleep(_POLL_SECONDS)


def _is_alive(state: dict[str, Any]) -> bool:
    return "pid" in state and state["boot"] == _boot() and state["started"] == _started(state["pid"])


def _kill_group(state: dict[str, Any]) -> None:
    """Kill what is left of a job. A number that belongs to another process by now belongs to none of the job."""
    if "pid" in state and state["boot"] == _boot() and _started(state["pid"]) in (None, state["started"]):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(state["pid"], signal.SIGKILL)


def _started(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since the boot; None if there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory, on this machine or in this container."""
    counted = 0
    for path in (_VMSTAT, _CGROUP_EVENTS):
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="ascii").splitlines()
            counted += sum(int(value) for name, value in map(str.split, lines) if name == "oom_kill")
    return counted


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("start", "start the programs on stdin"),
        ("look", "say how it goes"),
        ("end", "end a job"),
        ("end-all", "end all jobs of a directory, and wait until they have"),
        ("supervise", "run the programs; only `start` does this"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("directory", type=Path)
        if name in ("start", "look", "end"):
            command.add_argument("--owner", required=name != "end", metavar="ID", help="who asks; ends no other's job")
        if name == "look":
            command.add_argument("--position", type=int, metavar="N", help="bytes of the log that the owner has got")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    job = Job(arguments.directory)
    if arguments.command == "supervise":
        supervise(arguments.directory)
    elif arguments.command == "start":
        print(json.dumps(start(job, arguments.owner, sys.stdin.buffer.read())))
    elif arguments.command == "look":
        print(json.dumps(look(job, arguments.owner, arguments.position)))
    elif arguments.command == "end":
        end(job, arguments.owner, wait=arguments.owner is None)
    else:
        jobs = [Job(path.parent) for path in arguments.directory.glob("*/state")]
        for wait in (False, True):
            for job in jobs:
                end(job, None, wait=wait)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        print("error:", error, file=sys.stderr)
        sys.exit(exit_codes.OUT_OF_ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else exit_codes.FAILED)
