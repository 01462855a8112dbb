"""What the log of a run of bandersnatch tells: progress, and why what failed did.

The log quotes upstream, so what it says is believed only as a reason: whether a run succeeded, and which packages it
left undone, the files it leaves tell (`pypi_scan.sync_work`).
"""

import re
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pypi_scan.names import HostileInputError, mirror_path

_LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \S+ (?P<level>[A-Z]+): (?P<message>.*?)(?: \(\w+\.py:\d+\))?$")
_EXCEPTION = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
_LEFTOVERS = 20  # of the files last begun: more than bandersnatch downloads at a time


class Kind(StrEnum):
    """Why a package, or one of its files, could not be synced."""

    NOT_FOUND = "not_found"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    STALE = "stale"
    CUT_OFF = "cut_off"
    UNREACHABLE = "unreachable"
    FILE_NOT_FOUND = "file_not_found"
    WRONG_DIGEST = "wrong_digest"
    HTTP_ERROR = "http_error"
    MALFORMED = "malformed"
    UNEXPLAINED = "unexplained"
    QUARANTINED = "quarantined"
    DISK_FULL = "disk_full"
    NOT_WRITABLE = "not_writable"

    @property
    def passing(self) -> bool:
        """Whether trying again at once may help."""
        return self in (
            Kind.SERVER_ERROR,
            Kind.TIMEOUT,
            Kind.STALE,
            Kind.CUT_OFF,
            Kind.UNREACHABLE,
            Kind.UNEXPLAINED,  # bandersnatch says nothing of an answer that is no JSON
        )

    @property
    def of_the_whole(self) -> bool:
        """Whether it is no matter of one package: the next one would fail as well."""
        return self in (Kind.DISK_FULL, Kind.NOT_WRITABLE)


class Failure(NamedTuple):
    """Why something failed; the reason is one line, and may quote upstream."""

    kind: Kind
    reason: str


@dataclass
class BandersnatchLog:
    """What the log of one run told so far.

    `packages` are the failures by canonical name, `files` those by path below the mirror's ``web/``; `begun` the paths
    of the files whose download began last.
    """

    to_sync: int = 0
    fetched: int = 0
    packages: dict[str, Failure] = field(default_factory=dict)
    files: dict[str, Failure] = field(default_factory=dict)
    not_found: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    begun: deque[str] = field(default_factory=lambda: deque(maxlen=_LEFTOVERS))
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    _open: "_Subject | None" = None

    def feed(self, line: str) -> None:
        """Take in one line."""
        line = line.rstrip("\n")
        self.tail.append(line)
        if match := _LOG_LINE.match(line):
            self._open = None
            self._record(match["level"], match["message"])
        elif self._open and (found := _EXCEPTION.match(line)):  # the last such line of a traceback is the reason
            self._open.note(_explained(found["type"], found["text"] or "", of_file=self._open.of_file))

    def last_words(self) -> str:
        """Return the last line that says something."""
        return next((line for line in reversed(self.tail) if line.strip()), "no output")

    def _record(self, level: str, message: str) -> None:
        if level in ("ERROR", "CRITICAL"):
            self._error(message)
        elif found := re.fullmatch(r"(\d+) packages to sync\.", message):
            self.to_sync = int(found[1])
        elif message.startswith("Fetching metadata for package: "):
            self.fetched += 1
        elif found := re.fullmatch(r"Downloading(?: core metadata)?: (\S+)", message):
            if path := _path(found[1]):
                self.begun.append(path)
        elif found := re.fullmatch(r"(\S+) no longer exists on PyPI", message):
            self.not_found.add(found[1])
        elif message.startswith("Refused: "):
            self.refused.append(message.removeprefix("Refused: "))

    def _error(self, message: str) -> None:
        if found := re.fullmatch(r"Error syncing package: (\S+)@\d+", message):
            self._open = _Subject(self.packages, found[1], of_file=False)
        elif found := re.fullmatch(r"Continuing to next file after error downloading: (\S+)", message):
            if path := _path(found[1]):
                self._open = _Subject(self.files, path, of_file=True)
        elif (found := re.fullmatch(r"Unable to write json to .*/json/([a-z0-9.-]+): (.*)", message)) and (
            local := _local(found[2])
        ):
            self.packages[found[1]] = local


class _Subject(NamedTuple):
    """What the lines of a traceback are about; the first failure that is told of it is not replaced by a vaguer one."""

    failures: dict[str, Failure]
    name: str
    of_file: bool

    def note(self, failure: Failure) -> None:
        known = self.failures.get(self.name)
        if known is None or not known.kind.of_the_whole:
            self.failures[self.name] = failure


def _explained(exception: str, text: str, *, of_file: bool) -> Failure:
    """Return what the last line of a traceback means. Only its beginning is not upstream's text."""
    name = exception.rpartition(".")[2]
    reason = f"{name}: {text}"[:500] if text else name
    if name.endswith(("OSError", "PermissionError")) and (local := _local(text)):
        return local
    if name == "ClientResponseError" and (found := re.match(r"(\d{3}), ", text)):
        return Failure(_of_status(int(found[1]), of_file=of_file), reason)
    kinds = {
        "StaleMetadata": Kind.STALE,
        "ConnectionTimeout": Kind.TIMEOUT,
        "SocketTimeoutError": Kind.TIMEOUT,
        "ConnectionTimeoutError": Kind.TIMEOUT,
        "ServerTimeoutError": Kind.TIMEOUT,
        "TimeoutError": Kind.TIMEOUT,
        "ClientPayloadError": Kind.CUT_OFF,
        "ServerDisconnectedError": Kind.CUT_OFF,
        "ClientOSError": Kind.CUT_OFF,
        "ConnectionResetError": Kind.CUT_OFF,
        "ClientConnectorError": Kind.UNREACHABLE,
        "ClientConnectorDNSError": Kind.UNREACHABLE,
        "ClientProxyConnectionError": Kind.UNREACHABLE,
    }
    if name == "ValueError" and text.startswith("Inconsistent file. "):
        return Failure(Kind.WRONG_DIGEST, reason)
    return Failure(kinds.get(name, Kind.MALFORMED), reason)


def _of_status(status: int, *, of_file: bool) -> Kind:
    if status >= 500 or status == 429:
        return Kind.SERVER_ERROR
    return Kind.FILE_NOT_FOUND if of_file and status in (404, 410) else Kind.HTTP_ERROR


def _local(text: str) -> Failure | None:
    """Return what an error of this host's own file system means, None for another one."""
    found = re.match(r"\[Errno (\d+)\] ", text)
    kind = _ERRNO.get(int(found[1])) if found else None
    return Failure(kind, text[:500]) if kind else None


_ERRNO = {
    28: Kind.DISK_FULL,  # ENOSPC
    122: Kind.DISK_FULL,  # EDQUOT
    1: Kind.NOT_WRITABLE,  # EPERM
    5: Kind.NOT_WRITABLE,  # EIO
    13: Kind.NOT_WRITABLE,  # EACCES
    30: Kind.NOT_WRITABLE,  # EROFS
}


def _path(url: str) -> str | None:
    try:
        return mirror_path(url)
    except HostileInputError:
        return None
