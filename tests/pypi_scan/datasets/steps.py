"""All steps of a re-generation one after the other, as the DAG dataset_regeneration runs them."""

from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

from pypi_scan import datasets
from pypi_scan.download_stats.local_file import LocalFile
from pypi_scan.download_stats.refresh import refresh_download_stats
from pypi_scan.mirror import Mirror
from pypi_scan.project_status import ProjectStatuses

TODAY = date(2026, 11, 22)


def build_all(mirror: Mirror, directory: Path, stats_file: Path | None, gone: Collection[str] = ()) -> dict[str, Any]:
    """Make every dataset of `mirror` in `directory`; return what each step returned.

    The download statistics are those of `stats_file`; without one, none were ever kept.
    """
    kept = directory.parent / "kept.jsonl"
    kept.unlink(missing_ok=True)
    if stats_file:
        refresh_download_stats([LocalFile(stats_file)], kept, TODAY)
    return {
        "extract": datasets.write_extract(mirror, directory, gone),
        "package_list": datasets.write_package_list(mirror, directory),
        "dependencies": datasets.write_dependencies(directory),
        "download_stats": datasets.write_download_stats(directory, kept, TODAY),
        "project_status": datasets.write_project_status(directory, ProjectStatuses()),
        "aura_dataset": datasets.write_aura_dataset(directory),
        "checksums": datasets.write_checksums(directory),
    }
