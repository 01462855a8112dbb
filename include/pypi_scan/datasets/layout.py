"""Where the datasets lie below their directory."""

from pathlib import Path

EXTRACT = "extract.tsv"

# The names under which consumers have always fetched the published files.
PACKAGE_LIST = "pypi_package_list.gz"
DEPENDENCIES = "dependency_list.gz"
REVERSE_DEPENDENCIES = "reverse_dependencies.gz"
DOWNLOAD_STATS = "pypi_download_stats.gz"
DOWNLOAD_STATS_ORIGIN = "pypi_download_stats.json"
PROJECT_STATUS = "pypi_project_status.json.gz"
AURA_DATASET = "aura_dataset.tgz"
CHECKSUMS = "md5_checksums.txt"


def public_directory(directory: Path) -> Path:
    """Return where, below the datasets' `directory`, the files to publish lie; nothing else lies there."""
    return directory / "public"


def made_file(directory: Path, dataset: str) -> Path:
    """Return where, below the datasets' `directory`, it is noted what a dataset was made of."""
    return directory / "made" / f"{dataset}.json"


def aura_dataset_file(directory: Path) -> Path:
    """Return where, below the datasets' `directory`, the aura_dataset lies once it was made."""
    return public_directory(directory) / AURA_DATASET
