"""All datasets in one call, for where no scheduler runs the steps."""

from pathlib import Path
from typing import TypedDict

from pypi_scan.datasets.aura_dataset import AuraDatasetSummary, write_aura_dataset
from pypi_scan.datasets.checksums import ChecksumsSummary, write_checksums
from pypi_scan.datasets.dependencies import DependenciesSummary, write_dependencies
from pypi_scan.datasets.download_stats import DownloadStatsSummary, write_download_stats
from pypi_scan.datasets.extract import ExtractSummary, write_extract
from pypi_scan.datasets.package_list import PackageListSummary, write_package_list
from pypi_scan.mirror import Mirror


class BuildSummary(TypedDict):
    """What each step returned."""

    extract: ExtractSummary
    package_list: PackageListSummary
    dependencies: DependenciesSummary
    download_stats: DownloadStatsSummary
    aura_dataset: AuraDatasetSummary
    checksums: ChecksumsSummary


def build_all(mirror: Mirror, directory: Path, stats_file: Path | None) -> BuildSummary:
    """Make every dataset of `mirror` in `directory`; raises what the steps raise."""
    return BuildSummary(
        extract=write_extract(mirror, directory),
        package_list=write_package_list(mirror, directory),
        dependencies=write_dependencies(directory),
        download_stats=write_download_stats(directory, stats_file),
        aura_dataset=write_aura_dataset(directory),
        checksums=write_checksums(directory),
    )
