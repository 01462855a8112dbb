"""
### Scan the latest release of every package with Aura, publish one open dataset

Monthly, on demand (the form below), or as a backfill for dates in the past. The scan takes each package's release that
was the latest at **as_of**: the param if given, else the run's logical date, else now.

1. `plan` chooses the releases;
2. `prepare` ships the programs and the aura_dataset of the plan to every worker and checks it;
3. `divide` looks up which releases this scanner has scanned before, and makes shards of about equal cost;
4. each shard, mapped: `prefetch` waits for a worker with room and fetches the files to its SSD, `scan` there, `collect`
   the results, `evict` the files. While one shard is scanned the next ones are fetched;
5. `editions` merges what SQLite and Parquet hold, `pack` makes the dataset, `publish` puts it on the CDN, and the index
   last;
6. `cleanup` frees the workers, also after a failure.

**Workers** are the SSH connections that the Variable `pypi_workers` lists; it may be edited while a scan runs. The
shards of a worker that is lost go on by themselves on another one.

**Before a large scan**, tick *Dry run*: `estimate` says what it would take, in its log and as its return value, and all
other tasks are skipped. It waits, as every run does, for the scan that is running.

**If a shard fails**: read the last line of its task's log, then clear the failed task. Airflow clears what it needs
with it: the shard's `prefetch`, `prepare` and everything downstream.
Packages that time out, crash the scanner or have damaged archives do not fail a shard: they are in
`packages.jsonl.zst` with the reason.

**Backfill**: `airflow backfill create --dag-id global_scan --from-date 2026-01-01 --to-date 2026-06-02
--max-active-runs 1`, or in the web UI, without `as_of`: each run has its own date. A run whose dataset is public is
skipped when it is cleared.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Param, dag, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from msgspec import convert
from msgspec.structs import asdict

from alerts import SCAN_DEADLINE
from cdn_connection import cdn_from_connection
from dag_defaults import DEFAULT_ARGS, NOT_AT_ONCE, Tag
from pypi_scan.datasets import aura_dataset_file
from pypi_scan.divide import divide_scan
from pypi_scan.earlier_scan import packed_scans
from pypi_scan.estimate import described, estimate_scan
from pypi_scan.fleet_file import open_fleet
from pypi_scan.index import is_published, load_index, published_scan_ids, write_index
from pypi_scan.manifest import MANIFEST, SIGNATURE
from pypi_scan.mirror import Mirror
from pypi_scan.pack import pack_editions, pack_scan
from pypi_scan.plan import PlanError, plan_scan, planned_scan_ids
from pypi_scan.prediction import COSTS, CostModel
from pypi_scan.previous_scan import fetch_previous_scan
from pypi_scan.public_key import AnotherKeyError, check_public_key, publish_public_key
from pypi_scan.publish import publish_directory
from pypi_scan.record_store import RecordStore
from pypi_scan.results import Scanner
from pypi_scan.scan_request import RequestError, ScanRequest, scan_request
from pypi_scan.seal import MD5_CHECKSUMS, SHA256_CHECKSUMS
from pypi_scan.settings import Settings
from pypi_scan.signing import SigningError
from pypi_scan.torrent import TORRENT
from scan_timetable import ScanTimetable
from signing_connection import signing_key_from_connection
from worker_jobs.job_operator import CollectOperator, PrefetchOperator, ScanOperator
from worker_jobs.tasks import cleanup_workers, evict_shard, prepare_workers

log = logging.getLogger(__name__)

WHAT, HOW, OUTCOME = "What is scanned", "How it is scanned", "What becomes of it"

PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date-time",  # a date picker in the form; what is typed is checked by the pattern
        pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$",
        section=WHAT,
        title="As of",
        description="Scan PyPI as it stood at this moment. Empty: the run's logical date.",
    ),
    "packages": Param(
        [],
        type=["null", "array"],
        items={"type": "string", "minLength": 1, "maxLength": 255},
        section=WHAT,
        title="Packages",
        description="Names or patterns such as `zope.*`, one a line. Empty: all.",
    ),
    "limit": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        section=WHAT,
        title="Limit",
        description="At most so many packages, the first by name. Empty: no limit.",
    ),
    "mode": Param(
        "reuse",
        enum=["reuse", "full"],
        values_display={"reuse": "reuse: only what is new", "full": "full: everything"},
        section=HOW,
        title="Mode",
        description="`reuse`: take the records of releases that this scanner has scanned before. `full`: scan every "
        "package. Both give the same dataset.",
    ),
    "package_timeout": Param(
        1200,
        type="integer",
        minimum=5,
        maximum=86400,
        section=HOW,
        title="Timeout of a package (seconds)",
        description="A package whose scan takes longer is given up, with the status `timeout`. Records that were made "
        "with another one are not re-used.",
    ),
    "shards": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=1000,
        section=HOW,
        title="Shards",
        description="Number of shards. Empty: what suits the workers, of half an hour at most.",
    ),
    "publish": Param(
        True,
        type="boolean",
        section=OUTCOME,
        title="Publish",
        description="Put the dataset on the CDN and in its index. Off: it stays on the control host.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        section=OUTCOME,
        title="Dry run",
        description="Scan nothing. The task `estimate` says, in its log and under *XCom*, how many packages, bytes and "
        "hours this scan would take, and how much disk.",
    ),
}


def _requested(params: dict[str, Any], dag_run: Any) -> ScanRequest:
    backfill = dag_run.run_type == "backfill"
    return scan_request(params, dag_run.logical_date, datetime.now(UTC), backfill=backfill)


@dag(
    schedule=ScanTimetable("0 3 1 * *", timezone="UTC", run_immediately=NOT_AT_ONCE),
    catchup=False,
    max_active_runs=1,
    deadline=SCAN_DEADLINE,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    tags=[Tag.SCAN],
    doc_md=__doc__,
)
def global_scan() -> None:
    @task
    def estimate(*, params: dict[str, Any], dag_run: Any) -> dict[str, Any]:
        if not params["dry_run"]:
            raise AirflowSkipException("not a dry run")
        settings = Settings.load()
        try:
            with RecordStore.in_directory(settings.state_dir) as store:
                made = estimate_scan(
                    Mirror(settings.mirror_root),
                    _requested(params, dag_run),
                    packed_scans(settings.scans_dir),
                    CostModel.load(settings.state_dir / COSTS),
                    records=store if params["mode"] == "reuse" else None,
                    package_timeout=params["package_timeout"],
                    places=settings.prefetch_ahead + 1,
                    shards=params["shards"],
                )
        except (RequestError, PlanError) as error:
            raise AirflowFailException(str(error)) from error  # trying again would not help
        for line in described(made):
            log.info(line)
        return asdict(made)

    @task(multiple_outputs=True, max_active_tis_per_dag=1)  # of runs that overlap, each claims another scan id
    def plan(*, params: dict[str, Any], dag_run: Any) -> dict[str, Any]:
        if params["dry_run"]:
            raise AirflowSkipException("a dry run: the task estimate says what the scan would take")
        settings = Settings.load()
        published: list[str] = []
        try:
            if params["publish"]:
                cdn = cdn_from_connection(settings)
                check_public_key(cdn, signing_key_from_connection(settings).public_key)
                published = published_scan_ids(cdn)
                for scan_id in planned_scan_ids(settings.scans_dir, dag_run.run_id):
                    if is_published(cdn, scan_id):
                        raise AirflowSkipException(
                            f"this run has published scan {scan_id}, which never changes; to scan that date once more, "
                            "trigger the DAG with `as_of`"
                        )
            made = plan_scan(
                Mirror(settings.mirror_root),
                _requested(params, dag_run),
                settings.scans_dir,
                dag_run.run_id,
                taken=published,
                aura_dataset=aura_dataset_file(settings.datasets_dir),
            )
        except (RequestError, PlanError, SigningError, AnotherKeyError) as error:
            raise AirflowFailException(str(error)) from error  # trying again would not help
        return asdict(made)

    @task(multiple_outputs=True)
    def prepare(scan_id: str, *, params: dict[str, Any]) -> dict[str, Any]:
        return prepare_workers(Settings.load(), scan_id, params["package_timeout"])

    @task
    def divide(scan_id: str, scanner: dict[str, Any], *, params: dict[str, Any]) -> list[str]:
        settings = Settings.load()
        scan_dir = settings.scans_dir / scan_id
        with open_fleet(scan_dir) as fleet:
            workers = [worker.capacity for worker in fleet.workers.values() if worker.usable]
        with RecordStore.in_directory(settings.state_dir) as store:
            division = divide_scan(
                scan_dir,
                convert(scanner, Scanner),
                records=store if params["mode"] == "reuse" else None,
                costs=CostModel.load(settings.state_dir / COSTS),
                workers=workers,
                shards=params["shards"],
            )
            store.prune(settings.keep_records_days)
        with open_fleet(scan_dir) as fleet:
            fleet.set_shards({shard.id: shard.cost for shard in division.shards})
        return division.shard_ids

    @task_group(group_id="shards")
    def scan_one(scan_id: str, shard: str) -> None:
        named: dict[str, Any] = {"map_index_template": "shard {{ task.op_kwargs.shard }}"}
        step: dict[str, Any] = {"scan_id": scan_id, "shard": shard, "map_index_template": "shard {{ task.shard }}"}

        prefetch = PrefetchOperator(task_id="prefetch", pool="worker_prefetch", **step)
        scan = ScanOperator(task_id="scan", **step)
        collect = CollectOperator(task_id="collect", pool="collect", **step)

        @task(**named)
        def evict(scan_id: str, shard: str) -> None:
            evict_shard(Settings.load(), scan_id, shard)

        evicted = evict(scan_id=scan_id, shard=shard).as_teardown(setups=prefetch)
        prefetch >> scan >> collect >> evicted

    @task
    def editions(scan_id: str) -> None:
        pack_editions(Settings.load().scans_dir / scan_id)

    @task
    def pack(scan_id: str, *, params: dict[str, Any]) -> dict[str, Any]:
        settings = Settings.load()
        scan_dir = settings.scans_dir / scan_id
        key = previous = None
        if params["publish"]:
            key = signing_key_from_connection(settings)
            previous = fetch_previous_scan(cdn_from_connection(settings), settings.scans_dir, scan_id, key)
        return asdict(pack_scan(scan_dir, settings.cdn_public_url, key=key, previous=previous).counts)

    @task(max_active_tis_per_dag=1)  # else of two runs, the index of one would lack the other's scan
    def publish(scan_id: str, *, params: dict[str, Any]) -> Any:
        if not params["publish"]:
            raise AirflowSkipException("the run was asked not to publish; the dataset stays on the control host")
        settings = Settings.load()
        cdn = cdn_from_connection(settings)
        summary = publish_directory(
            cdn,
            settings.scans_dir / scan_id / "dataset",
            f"pypi_datasets/{scan_id}",
            last=(SHA256_CHECKSUMS, MD5_CHECKSUMS, TORRENT, SIGNATURE, MANIFEST),
            immutable=True,
        )
        publish_public_key(cdn, signing_key_from_connection(settings).public_key)
        write_index(cdn, load_index(cdn))
        return summary

    @task
    def cleanup(scan_id: str) -> None:
        cleanup_workers(Settings.load(), scan_id)

    estimate()
    scan_id = plan()["scan_id"]
    ready = prepare(scan_id)
    shards = scan_one.partial(scan_id=scan_id).expand(shard=divide(scan_id, ready["scanner"]))

    shards.get_child_by_label("collect") >> editions(scan_id) >> pack(scan_id) >> publish(scan_id)
    shards.get_child_by_label("evict") >> cleanup(scan_id).as_teardown(setups=ready)


global_scan()
