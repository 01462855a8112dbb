"""The small datasets that tools rely on, made anew after each sync that changed the mirror.

One module a dataset, one ``write_...`` function each, to be run in this order (those in one line are independent)::

    write_extract
    write_package_list, write_dependencies, write_download_stats, write_project_status
    write_aura_dataset
    write_checksums

All work in one directory: the extract lies in it, what is to be published below its ``public/``. Every file is written
atomically, and the same input gives the same bytes. Each function returns a small dict of counts that JSON can hold.
"""

from pypi_scan.datasets.aura_dataset import write_aura_dataset
from pypi_scan.datasets.checksums import write_checksums
from pypi_scan.datasets.dependencies import write_dependencies
from pypi_scan.datasets.download_stats import write_download_stats
from pypi_scan.datasets.extract import write_extract
from pypi_scan.datasets.layout import CHECKSUMS, aura_dataset_file, public_directory
from pypi_scan.datasets.package_list import write_package_list
from pypi_scan.datasets.project_status import write_project_status

__all__ = [
    "CHECKSUMS",
    "aura_dataset_file",
    "public_directory",
    "write_aura_dataset",
    "write_checksums",
    "write_dependencies",
    "write_download_stats",
    "write_extract",
    "write_package_list",
    "write_project_status",
]
