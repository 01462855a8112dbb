"""
### Re-generate the small datasets after the mirror or the download statistics changed

Triggered by the assets `pypi_mirror` and `pypi_download_stats`; can also be triggered by hand. Reads the JSON of each
package that changed (`extract`, which keeps the rest from run to run), makes the package list, dependencies, reverse
dependencies, download stats, project status and the aura_dataset, and publishes them below `aura/` on the CDN,
`md5_checksums.txt` last. What did not change is neither made nor uploaded again. The package list is also put into the
mirror, as `web/pypi_package_list.txt`.

Projects that upstream no longer has, or has quarantined, as `gone.json` and `project-status.json` of the state
directory tell, are left out; their JSON stays. `pypi_project_status.json.gz` names those that are archived, deprecated
or quarantined.

Download stats are what the DAG `download_stats` kept, with their source, window and date in
`pypi_download_stats.json`; before its first run they are left out.

**If it fails**: what is public stays as it was; clear the failed task, or wait for the next sync.

**To make everything anew**, remove `datasets` from the state directory.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import dag, task

from cdn_connection import cdn_from_connection
from dag_defaults import DEFAULT_ARGS, DOWNLOAD_STATS, PYPI_MIRROR, Tag
from pypi_scan import datasets
from pypi_scan.gone import read_gone
from pypi_scan.mirror import Mirror
from pypi_scan.project_status import read_statuses
from pypi_scan.publish import publish_directory
from pypi_scan.settings import Settings


@dag(
    schedule=PYPI_MIRROR | DOWNLOAD_STATS,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=[Tag.DATASETS],
    doc_md=__doc__,
)
def dataset_regeneration() -> None:
    @task
    def extract() -> Any:
        settings = Settings.load()
        gone = read_gone(settings.gone_file).keys() | read_statuses(settings.project_status_file).quarantined()
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
        today = datetime.now(UTC).date()
        return datasets.write_download_stats(settings.datasets_dir, settings.download_stats_kept, today)

    @task
    def project_status() -> Any:
        settings = Settings.load()
        return datasets.write_project_status(settings.datasets_dir, read_statuses(settings.project_status_file))

    @task
    def aura_dataset() -> Any:
        return datasets.write_aura_dataset(Settings.load().datasets_dir)

    @task
    def publish() -> Any:
        settings = Settings.load()
        datasets.write_checksums(settings.datasets_dir)
        return publish_directory(
            cdn_from_connection(settings),
            datasets.public_directory(settings.datasets_dir),
            "aura",
            last=(datasets.CHECKSUMS,),
            immutable=False,
        )

    extract() >> [package_list(), dependencies(), download_stats(), project_status()] >> aura_dataset() >> publish()


dataset_regeneration()
