"""Which projects are archived, deprecated or quarantined upstream (PEP 792), kept between syncs like `pypi_scan.gone`.

bandersnatch knows nothing of it. An upstream says it on each project's own page, so it is asked for the projects that a
sync is about to sync, for those that just left upstream's list, where PyPI puts quarantined ones, and for those that
were quarantined. A quarantined project is not synced: it would come without its releases, which scans of the past need.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from pypi_scan.files import atomic_write

_MAX_REASON = 500


class Status(StrEnum):
    """The status markers of PEP 792; whatever else upstream says counts as active."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    DEPRECATED = "deprecated"
    QUARANTINED = "quarantined"


class ProjectStatus(msgspec.Struct, frozen=True):
    """A status, upstream's reason for it, and since when it is known: nanoseconds of file system time."""

    status: Status
    reason: str
    since_ns: int


class ProjectStatuses(msgspec.Struct, frozen=True):
    """{canonical name: status} of the projects that are, or once were, not active; and whom to ask for again."""

    projects: dict[str, ProjectStatus] = {}
    ask_again: list[str] = []

    def quarantined(self) -> set[str]:
        """Return the names of the quarantined projects."""
        return {name for name, each in self.projects.items() if each.status is Status.QUARANTINED}

    def changed_since(self, since_ns: int) -> set[str]:
        """Return the names of the projects whose status is known only since then."""
        return {name for name, each in self.projects.items() if each.since_ns > since_ns}

    def told(
        self, asked: Collection[str], statuses: Mapping[str, Any], not_told: Iterable[str], now_ns: int
    ) -> "ProjectStatuses":
        """Return the statuses after upstream was asked for some, and answered with {"status", "reason"} by name.

        What it does not know keeps its status; for those that it failed to answer for it is to be asked again.
        """
        projects = dict(self.projects)
        for name, said in statuses.items():
            status = Status(said["status"]) if said["status"] in Status else Status.ACTIVE
            reason = "".join(char if char.isprintable() else " " for char in said["reason"][:_MAX_REASON])
            before = projects.get(name)
            known = (before.status, before.reason) if before else (Status.ACTIVE, reason)
            if known != (status, reason):
                projects[name] = ProjectStatus(status, reason, now_ns)
        return ProjectStatuses(projects, sorted({*self.ask_again}.difference(asked).union(not_told)))


class ProjectStatusError(Exception):
    """The file of the statuses is damaged; the message says what to do."""


def read_statuses(path: Path) -> ProjectStatuses:
    """Return what the last sync noted in the file `path`; nothing before the first. Raises ProjectStatusError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProjectStatuses)
    except FileNotFoundError:
        return ProjectStatuses()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProjectStatusError(
            f"{path} is damaged ({error}); remove it: the status of a project is then known with its next change"
        ) from error


def write_statuses(path: Path, statuses: ProjectStatuses) -> None:
    """Note the statuses."""
    with atomic_write(path) as file:
        file.write(msgspec.json.encode(statuses, order="sorted"))
