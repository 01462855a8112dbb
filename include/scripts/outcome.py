"""How the scan of one package went: found out in the child where it can be, by the parent where the child is gone."""

import errno
import json
import signal
import tarfile
import traceback
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonl
from pool import Ended, Limits
from shard import Package, ReleaseFile

MAX_RECORD_BYTES = 128 * 1024**2  # the parent reads each record, and so does everybody after it
_MAX_REASON = 300  # characters
WITH_RECORD = ("ok", "corrupt")
_WITHOUT_RECORD = ("memory", "too_large", "crash")
_TOO_LARGE = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
# What is always an archive the scanner can open. Aura does not open others, such as .tar.xz or .exe.
_ARCHIVE_SUFFIXES = (".whl", ".zip", ".egg", ".tar.gz", ".tgz", ".tar.bz2", ".tbz")


@dataclass(frozen=True)
class Outcome:
    """The `status` of a package's status line and, unless all is well, the `reason` for it, one sentence."""

    status: str
    reason: str | None = None

    def write(self, path: Path) -> None:
        """Leave the outcome for the parent."""
        path.write_bytes(jsonl.line({"status": self.status, "reason": self.reason}))


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


def of_record(record: dict[str, Any], files: tuple[ReleaseFile, ...], archives: tuple[str, ...], web: Path) -> Outcome:
    """Return ``corrupt`` if one of `files` could not be opened as an archive, else ``ok``.

    `archives` are the MIME types that the scanner opens, `web` is the mirror tree that the files lie in.
    """
    by_path = {file.path: file for file in files}
    for detection in record["detections"]:
        path, extra = detection.get("location"), detection.get("extra", {})
        if path not in by_path:
            continue
        if detection["type"] == "ArchiveAnomaly" and extra.get("reason") == "archive_read_error":
            return Outcome("corrupt", _sentence(f"{path} cannot be read as an archive: {extra.get('exc_message')}"))
        unopened = detection["type"] == "FileStats" and extra.get("mime") not in archives
        if unopened and path.endswith(_ARCHIVE_SUFFIXES) and not _is_archive(web / path):
            return Outcome("corrupt", f"{path} is not an archive")
    return Outcome("ok")


def of_error(error: BaseException, places: tuple[Path, ...]) -> Outcome:
    """Return the outcome of a scan that ended with `error`. Paths in `places` are left out of the reason."""
    # Aura adds the URI and the metadata of the scan to the arguments of every exception.
    message = str(error.args[0]) if error.args and not isinstance(error, OSError) else str(error.args[:2] or "")
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    reason = f"{type(error).__name__}{where}: {message}"
    for place in places:
        reason = reason.replace(f"{place}/", "")
    if isinstance(error, MemoryError):
        return Outcome("memory", _sentence(f"needed more memory than it is allowed: {reason}"))
    if isinstance(error, OSError) and error.errno in _TOO_LARGE:
        return Outcome("too_large", _sentence(f"unpacks to more than it is allowed: {reason}"))
    return Outcome("crash", _sentence(reason))


def of_child(ended: Ended, limits: Limits, left: Path) -> Outcome:
    """Return the outcome of a child: what it left in the file `left`, or what its end tells."""
    if ended.timed_out:
        return Outcome("timeout", f"not finished after {limits.seconds:g} seconds")
    if ended.signal == signal.SIGKILL:
        return Outcome("memory", "killed by the kernel (SIGKILL), most likely because memory ran out")
    if ended.signal:
        return Outcome("crash", f"died of {signal.Signals(ended.signal).name}")
    try:
        entry = json.loads(left.read_bytes())
        outcome = Outcome(str(entry["status"]), None if entry["reason"] is None else _sentence(str(entry["reason"])))
    except (OSError, ValueError, KeyError, TypeError):
        return Outcome("crash", f"left nothing behind and exited with {ended.exit_code}")
    if outcome.status not in (WITH_RECORD if ended.exit_code == 0 else _WITHOUT_RECORD):
        return Outcome("crash", f"exited with {ended.exit_code}")
    return outcome


def read_record(path: Path, name: str) -> dict[str, Any]:
    """Return the record of the package `name` that a child left at `path`; raises NoRecordError if it is none."""
    try:
        if (size := path.stat().st_size) > MAX_RECORD_BYTES:
            raise NoRecordError("too_large", f"its record has {size} bytes, {MAX_RECORD_BYTES} are allowed")
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise NoRecordError("crash", "left no valid record") from error
    if not isinstance(record, dict) or record.get("name") != f"mirror://{name}":
        raise NoRecordError("crash", "left a record of something else")
    if not isinstance(record.get("detections"), list) or not isinstance(record.get("score"), int):
        raise NoRecordError("crash", "left a record without detections or score")
    return record


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except (OSError, EOFError, ValueError):
        return False


def _sentence(text: str) -> str:
    return jsonl.clean(" ".join(text.split()))[:_MAX_REASON]
