"""All steps of a re-generation one after the other, as the DAG dataset_regeneration runs them."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pypi_scan import datasets
from pypi_scan.mirror import Mirror


def build_all(mirror: Mirror, directory: Path, stats_file: Path | None, gone: Collection[str] = ()) -> dict[str, Any]:
    """Make every dataset of `mirror` in `directory`; return what each step returned."""
    return {
        "extract": datasets.write_extract(mirror, directory, gone),
        "package_list": datasets.write_package_list(mirror, directory),
        "dependencies": datasets.write_dependencies(directory),
        "download_stats": datasets.write_download_stats(directory, stats_file),
        "aura_dataset": datasets.write_aura_dataset(directory),
        "checksums": datasets.write_checksums(directory),
    }
