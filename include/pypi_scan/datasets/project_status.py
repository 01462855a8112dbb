"""``pypi_project_status.json.gz``: the projects that are archived, deprecated or quarantined upstream (PEP 792).

One JSON object, sorted, {canonical name: {"status": "quarantined", "reason": "..."}}; projects without an entry are
active. The reason is upstream's text, and may be empty.
"""

import hashlib
from pathlib import Path
from typing import TypedDict

import msgspec

from pypi_scan.datasets.compression import atomic_gzip
from pypi_scan.datasets.layout import PROJECT_STATUS, public_directory
from pypi_scan.datasets.made import make_if_changed
from pypi_scan.project_status import ProjectStatuses, Status


class ProjectStatusSummary(TypedDict):
    """Counts of projects, by status."""

    archived: int
    deprecated: int
    quarantined: int


def write_project_status(directory: Path, statuses: ProjectStatuses) -> ProjectStatusSummary:
    """Write the dataset from what syncs have noted."""
    projects = {
        name: {"status": each.status, "reason": each.reason}
        for name, each in statuses.projects.items()
        if each.status is not Status.ACTIVE
    }
    content = msgspec.json.encode(projects, order="sorted") + b"\n"
    target = public_directory(directory) / PROJECT_STATUS

    def write() -> ProjectStatusSummary:
        with atomic_gzip(target) as compressed:
            compressed.write(content)
        found = [each["status"] for each in projects.values()]
        return ProjectStatusSummary(
            archived=found.count(Status.ARCHIVED),
            deprecated=found.count(Status.DEPRECATED),
            quarantined=found.count(Status.QUARANTINED),
        )

    made_of = hashlib.sha256(content).hexdigest()
    return make_if_changed(directory, "project_status", made_of, [target], write, ProjectStatusSummary)
