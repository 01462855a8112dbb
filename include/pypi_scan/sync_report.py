"""``sync-report.json``: what the mirror lacks of upstream, why, since when, and how often it was tried.

A package that fails is put aside: it holds up neither the others nor the mirror's serial, and every later sync tries it
again. What upstream lists without a JSON document is put aside too, but tried only a few times more: most of those are
projects without a release, thousands of them, until their serial changes.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import msgspec

from pypi_scan.bandersnatch_log import Failure, Kind
from pypi_scan.files import atomic_write
from pypi_scan.sync_errors import SyncError

_NOT_FOUND_TRIES = 3


class PutAside(msgspec.Struct, frozen=True):
    """A package that was not synced: its name as upstream spells it, and the serial that it has there.

    `since` is the time (ISO 8601, UTC) of the first failure, `since_ns` that of the first with this serial, in
    nanoseconds of file system time; `tries` counts syncs.
    """

    name: str
    serial: int
    kind: Kind
    reason: str
    since: str
    since_ns: int
    tries: int


class SyncReport(msgspec.Struct, frozen=True):
    """{canonical name: package put aside}, and {what was refused as hostile: since when}."""

    put_aside: dict[str, PutAside] = {}
    refused: dict[str, str] = {}

    def due(self, but: Container[str] = ()) -> dict[str, int]:
        """Return name as upstream spells it -> serial of what a sync shall try again, without the canonical `but`."""
        return {
            each.name: each.serial
            for name, each in self.put_aside.items()
            if name not in but and (each.kind is not Kind.NOT_FOUND or each.tries < _NOT_FOUND_TRIES)
        }

    def counts(self) -> dict[str, int]:
        """Return how many packages are put aside for which kind of reason."""
        return dict(sorted(Counter(str(each.kind) for each in self.put_aside.values()).items()))

    def with_failures(
        self,
        failures: Mapping[str, Failure],
        spelled: Mapping[str, str],
        serials: Mapping[str, int],
        now: str,
        now_ns: int,
    ) -> "SyncReport":
        """Return the report with these failures of a sync, by canonical name.

        `spelled` has the names as upstream spells them, `serials` the serials by those.
        """
        put_aside = dict(self.put_aside)
        for name, failure in failures.items():
            before = self.put_aside.get(name)
            serial = serials[spelled[name]]
            told = before is not None and before.serial == serial
            put_aside[name] = PutAside(
                spelled[name],
                serial,
                failure.kind,
                failure.reason,
                before.since if before else now,
                before.since_ns if before and told else now_ns,
                (before.tries if before and told else 0) + 1,
            )
        return SyncReport(put_aside, self.refused)

    def without(self, names: Iterable[str]) -> "SyncReport":
        """Return the report without these packages, by canonical name: they were synced, or are gone upstream."""
        left_out = frozenset(names)
        kept = {name: each for name, each in self.put_aside.items() if name not in left_out}
        return SyncReport(kept, self.refused)

    def with_refused(self, refused: Iterable[str], now: str) -> "SyncReport":
        """Return the report with what was refused."""
        return SyncReport(self.put_aside, dict.fromkeys(refused, now) | self.refused)


def read_report(path: Path) -> SyncReport:
    """Return what the last sync reported, an empty report before the first; raises SyncError for a damaged file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SyncReport)
    except FileNotFoundError:
        return SyncReport()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SyncError(
            f"{path} is damaged ({error}); remove it: mirror_verify finds what is missing of the packages that the "
            "mirror has, others come with their next release"
        ) from error


def write_report(path: Path, report: SyncReport) -> None:
    """Replace the report."""
    with atomic_write(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=1) + b"\n")
