"""
### Re-generate the small datasets after the mirror changed

Triggered by the asset `pypi_mirror`; can also be triggered by hand. Reads the JSON of each package that changed
(`extract`, which keeps the rest from run to run), makes the package list, dependencies, reverse dependencies, download
stats and the aura_dataset, and publishes them below `aura/` on the CDN, `md5_checksums.txt` last. What did not change
is neither made nor uploaded again. The package list is also put into the mirror, as `web/pypi_package_list.txt`.

Projects that upstream no longer has, as `gone.json` of the state directory tells, are left out; their JSON stays.

Download stats come from the file of the setting `PYPI_SCAN_DOWNLOAD_STATS_FILE`; without it they are left out.

**If it fails**: what is public stays as it was; clear the failed task, or wait for the next sync.

**To make everything anew**, remove `datasets` from the state directory; **to upload everything again**, only
`datasets/published.json`.
"""

from typing import Any

from airflow.sdk import dag, task

from cdn_connection import cdn_from_connection
from dag_defaults import DEFAULT_ARGS, PYPI_MIRROR, Tag
from pypi_scan import datasets
from pypi_scan.datasets.publishing import publish_datasets
from pypi_scan.gone import read_gone
from pypi_scan.mirror import Mirror
from pypi_scan.settings import Settings


@dag(
    schedule=[PYPI_MIRROR],
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=[Tag.DATASETS],
    doc_md=__doc__,
)
def dataset_regeneration() -> None:
    @task
    def extract() -> Any:
        settings = Settings.load()
        gone = read_gone(settings.gone_file)
        return datasets.write_extract(Mirror(settings.mirror_root), settings.datasets_dir, gone)

    @task
    def package_list() -> Any:
        settings = Settings.load()
        return datasets.write_package_list(Mirror(settings.mirror_root), settings.datasets_dir)

    @task
    def dependencies() -> Any:
        return datasets.write_dependencies(Settings.load().datasets_dir)

    @task
    def download_stats() -> Any:
        settings = Settings.load()
        return datasets.write_download_stats(settings.datasets_dir, settings.download_stats_file)

    @task
    def aura_dataset() -> Any:
        return datasets.write_aura_dataset(Settings.load().datasets_dir)

    @task
    def publish() -> Any:
        settings = Settings.load()
        datasets.write_checksums(settings.datasets_dir)
        return publish_datasets(cdn_from_connection(settings), settings.datasets_dir, "aura")

    extract() >> [package_list(), dependencies(), download_stats()] >> aura_dataset() >> publish()


dataset_regeneration()
