"""How the scan of one package went: found out in the child where it can be, by the parent where the child is gone."""

import errno
import json
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonl
from pool import Ended, Limits
from redaction import Key
from shard import Package, ReleaseFile

MAX_RECORD_BYTES = 128 * 1024**2  # the parent reads each record, and so does everybody after it
_MAX_REASON = 300  # characters
_GRAVITY = ("too_large", "corrupt", "skipped")  # which of several is the status
_WITH_RECORD = ("ok", "corrupt", "skipped", "too_large")
_WITHOUT_RECORD = ("memory", "too_large", "crash")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOO_LARGE = (errno.EFBIG, *_DISK_FULL)
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What is always an archive the scanner can open; .exe, .rpm and the like are not.
_ARCHIVE_SUFFIXES = (".whl", ".zip", ".egg", ".tar", ".tgz", ".tbz", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
# Why a scanner leaves parts of an archive packed: Aura's word first, then those of unpack.py.
_NO_ROOM = ("file_size_exceeded", "total_size_exceeded", "too_many_members")


@dataclass(frozen=True)
class Outcome:
    """The `status` of a package's status line and, unless all is well, the `reason` for it, one sentence.

    `record`: there is a record all the same, of what was found. `doubtful`: it may be this machine that failed and not
    the package, for which another try may end well.
    """

    status: str
    reason: str | None = None
    record: bool = False
    doubtful: bool = False

    def write(self, path: Path) -> None:
        """Leave the outcome for the parent."""
        path.write_bytes(jsonl.line({"status": self.status, "reason": self.reason, "doubtful": self.doubtful}))


class NoRecordError(Exception):
    """A child said that it left a record, and did not; `outcome` says what this makes of its package."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = Outcome(status, reason)


def before_scan(package: Package, present: tuple[ReleaseFile, ...]) -> Outcome | None:
    """Return the outcome of a package of which nothing can be scanned, else None."""
    if package.refused is not None:
        return Outcome("skipped", package.refused)
    if not package.files:
        return Outcome("no_release", "the release has no files")
    if not present:
        return missing_files(package, present)
    return None


def missing_files(package: Package, present: tuple[ReleaseFile, ...]) -> Outcome:
    """Return the outcome of a package of which only the files `present` are there."""
    missing = sorted(file.path for file in package.files if file not in present)
    return Outcome("missing_file", f"{len(missing)} of {len(package.files)} files are not there, first {missing[0]}")


def of_record(record: dict[str, Any], files: tuple[ReleaseFile, ...]) -> Outcome:
    """Return what `record` says of how complete it is.

    That is ``too_large`` if something stayed packed for want of room, ``corrupt`` if one of `files` is damaged,
    ``skipped`` if one of them is of a kind that cannot be unpacked, else ``ok``.
    """
    paths = {file.path for file in files}
    anomalies = [
        (detection.get("location"), detection.get("extra", {}))
        for detection in record["detections"]
        if detection["type"] == "ArchiveAnomaly"
    ]
    found = []
    for path, extra in anomalies:
        reason = extra.get("reason")
        if reason in _NO_ROOM:
            found.append(Outcome("too_large", _sentence(f"{path} is not unpacked whole: {reason}"), record=True))
        elif path in paths and reason == "archive_read_error":
            message = f"{path} cannot be read as an archive: {extra.get('exc_message')}"
            found.append(Outcome("corrupt", _sentence(message), record=True))
        elif path in paths and reason == "unknown_format":
            status = "corrupt" if path.endswith(_ARCHIVE_SUFFIXES) else "skipped"
            found.append(Outcome(status, _sentence(f"{path} is no archive that can be unpacked"), record=True))
    return min(found, key=lambda outcome: _GRAVITY.index(outcome.status), default=Outcome("ok", record=True))


def ends_scan(error: BaseException) -> bool:
    """Return whether a scan must not go on after `error`: there is no memory or no room on the disk."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in (*_TOO_LARGE, errno.ENOMEM))


def of_error(error: BaseException, places: tuple[Path, ...], key: Key | None = None) -> Outcome:
    """Return the outcome of a scan that ended with `error`. Paths in `places` are left out of the reason.

    With a `key` so is the message of a crash: it can be any text of the package, and no record tells its secrets.
    """
    # Aura adds the URI and the metadata of the scan to the arguments of every exception.
    message = str(error.args[0]) if error.args and not isinstance(error, OSError) else str(error.args[:2] or "")
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    reason = f"{type(error).__name__}{where}: {message}"
    for place in places:
        reason = reason.replace(f"{place}/", "")
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return Outcome("memory", _sentence(f"needed more memory than it is allowed: {reason}"), doubtful=True)
    if isinstance(error, OSError) and error.errno in _TOO_LARGE:
        full = error.errno in _DISK_FULL
        return Outcome("too_large", _sentence(f"unpacks to more than it is allowed: {reason}"), doubtful=full)
    if key:
        reason = f"{type(error).__name__}{where}: {key.redacted(message)}"
    return Outcome("crash", _sentence(reason))


def of_child(ended: Ended, limits: Limits, left: Path) -> Outcome:
    """Return the outcome of a child: what it left in the file `left`, or what its end tells."""
    if ended.timed_out:
        return Outcome("timeout", f"not finished after {limits.seconds:g} seconds")
    if ended.signal == signal.SIGXCPU or (ended.signal == signal.SIGKILL and ended.cpu_seconds > limits.cpu_seconds):
        return Outcome("timeout", f"not finished after {limits.cpu_seconds:g} seconds of CPU time")
    if ended.signal == signal.SIGKILL:
        return Outcome("memory", "killed by the kernel (SIGKILL), most likely because memory ran out", doubtful=True)
    if ended.signal:
        doubtful = ended.signal in _FROM_OUTSIDE
        return Outcome("crash", f"died of {signal.Signals(ended.signal).name}", doubtful=doubtful)
    try:
        entry = json.loads(left.read_bytes())
        reason = None if entry["reason"] is None else _sentence(str(entry["reason"]))
        doubtful = entry["doubtful"] is True
        outcome = Outcome(str(entry["status"]), reason, record=ended.exit_code == 0, doubtful=doubtful)
    except (OSError, ValueError, KeyError, TypeError):
        return Outcome("crash", f"left nothing behind and exited with {ended.exit_code}")
    if outcome.status not in (_WITH_RECORD if outcome.record else _WITHOUT_RECORD):
        return Outcome("crash", f"exited with {ended.exit_code}")
    return outcome


def read_record(path: Path, name: str) -> dict[str, Any]:
    """Return the record of the package `name` that a child left at `path`; raises NoRecordError if it is none."""
    record = _read(path, f"mirror://{name}")
    if not isinstance(record.get("score"), int):
        raise NoRecordError("crash", "left a record without a score")
    return record


def check_known(path: Path, name: str) -> None:
    """Check what a child left at `path` of the known package `name`; raises NoRecordError if it is no line of it."""
    if _read(path, name).keys() != {"name", "detections"}:
        raise NoRecordError("crash", "left more than detections")


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > MAX_RECORD_BYTES:
            raise NoRecordError("too_large", f"its record has {size} bytes, {MAX_RECORD_BYTES} are allowed")
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise NoRecordError("crash", "left no valid record") from error
    if not isinstance(record, dict) or record.get("name") != name:
        raise NoRecordError("crash", "left a record of something else")
    if not isinstance(record.get("detections"), list):
        raise NoRecordError("crash", "left a record without detections")
    return record


def _sentence(text: str) -> str:
    return jsonl.clean(" ".join(text.split()))[:_MAX_REASON]
