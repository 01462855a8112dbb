"""Jobs on a worker from end to end: the operator submits, the trigger follows, the operator takes the outcome."""

import asyncio
import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.module_loading import import_string

from demo.processes import free_port
from pypi_scan.accept import accept_results
from pypi_scan.record_store import RecordStore
from pypi_scan.results import RESULT_FILES, read_scanner
from pypi_scan.settings import Settings
from worker_jobs.job_operator import PrefetchOperator, ScanOperator, WorkerJobOperator
from worker_jobs.worker import Worker, WorkerError

from .conftest import CONN_ID, PROJECT, Connect, Scanned, processes_with, wait_for
from .small_mirror import SOURCES


@pytest.fixture
def worker(worker: Worker, scanned: Scanned) -> Worker:
    """The machine as a worker that has been prepared."""
    ignored = shutil.ignore_patterns("__pycache__")
    scripts = Path(worker.scripts_dir(scanned.scan_id))
    shutil.copytree(PROJECT / "include" / "scripts", scripts, ignore=ignored)
    key = Path(worker.redaction_key(scanned.scan_id))
    key.parent.mkdir()
    key.write_text("0f" * 32)
    return worker


@pytest.fixture
def context() -> dict[str, Any]:
    """What the operators use of a task's context."""
    xcom: dict[str, Any] = {}
    ti = SimpleNamespace(dag_id="global_scan", task_id="shards.scan", run_id="manual__1", try_number=1, xcom=xcom)
    ti.xcom_push = lambda key, value: xcom.update({key: value})
    return {"ti": ti, "params": {"package_timeout": 60}}


def make(kind: type[WorkerJobOperator], scanned: Scanned, **arguments: Any) -> WorkerJobOperator:
    ids = {"scan_id": scanned.scan_id, "shard": scanned.shard}
    return kind(**{"task_id": "job", "time_limit": 60, **ids, **arguments})


def submit(operator: WorkerJobOperator, context: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    return deferred.value


def follow(deferred: TaskDeferred) -> dict[str, Any]:
    """Run the trigger as the triggerer does, from its serialized form, and return its event as it is stored."""
    path, arguments = deferred.trigger.serialize()
    trigger = import_string(path)(**{**json.loads(json.dumps(arguments)), "poll_interval": 0.1})

    async def first_event() -> Any:
        return await anext(trigger.run())

    return json.loads(json.dumps(asyncio.run(asyncio.wait_for(first_event(), 60)).payload))


def run(kind: type[WorkerJobOperator], scanned: Scanned, context: dict[str, Any], **arguments: Any) -> None:
    """Run a job to its end. A deferred task goes on in another process: with another instance of its operator."""
    deferred = submit(make(kind, scanned, **arguments), context)
    assert deferred.method_name == "execute_complete"
    make(kind, scanned, **arguments).execute_complete(context, follow(deferred))


def jobs(work_dir: Path) -> list[Path]:
    return sorted(work_dir.glob("scans/*/jobs/*"))


def hold_back_prefetch(work_dir: Path, scanned: Scanned) -> None:
    """Let more shards be ahead than the worker may hold: prefetch waits."""
    for name in ("0101", "0102"):
        fetched = work_dir / "scans" / scanned.scan_id / "cache" / name / "missing.jsonl"
        fetched.parent.mkdir(parents=True)
        fetched.touch()


def test_prefetch_and_scan(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    on_worker = work_dir / "scans" / scanned.scan_id
    run(PrefetchOperator, scanned, context)
    shard = f"{scanned.shard}.jsonl.zst"
    assert (on_worker / "shards" / shard).read_bytes() == (
        settings.scans_dir / scanned.scan_id / "shards" / shard
    ).read_bytes()
    web = on_worker / "cache" / scanned.shard / "web"
    assert {path.name for path in (web / "json").iterdir()} == SOURCES.keys()
    run(ScanOperator, scanned, context)
    results = on_worker / "results" / scanned.shard
    with RecordStore.in_directory(settings.state_dir) as store:
        planned = settings.scans_dir / scanned.scan_id / "shards" / shard
        assert accept_results(planned, results, read_scanner(results), store).by_status == {"ok": 2}
    assert {path.name for path in results.iterdir()} >= set(RESULT_FILES)
    scanner = json.loads((results / "scanner.json").read_text())
    assert (scanner["settings"]["timeout"], scanner["settings"]["secrets"]) == (60, "redacted")
    assert jobs(work_dir) == []


def test_no_package_is_named_in_a_command(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    operator = make(PrefetchOperator, scanned)
    deferred = submit(operator, context)
    for text in (operator.command, repr(deferred.trigger.serialize()), repr(context["ti"].xcom)):
        assert not any(name in text for name in SOURCES)
    operator.execute_complete(context, follow(deferred))


def test_the_scan_uses_the_cores_and_the_dataset_of_the_worker(
    connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    worker = connect()
    assert make(ScanOperator, scanned).arguments(worker, settings, context)[-1] == "--jobs=2"
    (settings.scans_dir / scanned.scan_id / "aura_dataset.tgz").touch()
    worker = connect(extra={"cores": None})
    assert make(ScanOperator, scanned).arguments(worker, settings, context)[-1] == (
        f"--dataset={worker.dataset_dir(scanned.scan_id)}"
    )


def test_a_scan_quotes_secrets_only_if_it_is_set(
    worker: Worker,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    option = f"--redaction-key={worker.redaction_key(scanned.scan_id)}"
    assert option in make(ScanOperator, scanned).arguments(worker, settings, context)
    monkeypatch.setenv("PYPI_SCAN_KEEP_SECRETS", "true")
    assert option not in make(ScanOperator, scanned).arguments(worker, Settings.load(), context)


def test_a_program_that_fails_says_why(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYPI_SCAN_MIRROR_SOURCE", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WorkerError) as error:
        run(PrefetchOperator, scanned, context)
    message = str(error.value)
    assert message.startswith(f"worker {CONN_ID}: prefetch.py of shard {scanned.shard}: not one of 2 files could be")
    assert message.endswith("run the same command again (exit code 1)")
    assert "\n" not in message


@pytest.fixture
def unreadable(worker: Worker, work_dir: Path, scanned: Scanned) -> Path:
    """A shard on the worker that cannot be read."""
    shard = work_dir / "scans" / scanned.scan_id / "shards" / f"{scanned.shard}.jsonl.zst"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"not a zstd file")
    return shard


def test_the_reason_is_found_where_the_trigger_has_not_read_it(
    unreadable: Path, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    """It reads the log in parts, and may have read the last one before it saw that the job has ended."""
    operator = make(ScanOperator, scanned)
    event = follow(submit(operator, context))
    assert event["exit_code"] == 1
    with pytest.raises(WorkerError, match=rf"scan_shard.py of shard 0001: .*{unreadable.name}.* \(exit code 1\)$"):
        operator.execute_complete(context, {**event, "log_chunk": ""})
    (job,) = jobs(work_dir)  # kept for whoever looks into it
    assert "error: " in (job / "stdout.log").read_text()


def test_the_reason_is_given_where_the_worker_is_gone_since(
    unreadable: Path, connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    operator = make(ScanOperator, scanned)
    event = follow(submit(operator, context))
    connect(port=free_port())
    with pytest.raises(WorkerError, match=r"scan_shard.py of shard 0001: it broke \(exit code 1\)$"):
        operator.execute_complete(context, {**event, "log_chunk": "12:00:00 scan\nerror: it broke\n"})


def test_the_exit_code_is_kept(
    worker: Worker, connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any], tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nset -e\necho 'its last words' >&2\nexit 42\n")
    program.chmod(0o755)
    connect(extra={"python": str(program)})
    deferred = submit(make(ScanOperator, scanned), context)
    event = follow(deferred)
    assert (event["status"], event["exit_code"]) == ("failed", 42)
    with pytest.raises(WorkerError, match=r"scan_shard.py of shard 0001: its last words \(exit code 42\)$"):
        make(ScanOperator, scanned).execute_complete(context, event)


def test_a_job_is_ended_after_its_time_limit(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    hold_back_prefetch(work_dir, scanned)
    deferred = submit(make(PrefetchOperator, scanned, time_limit=1), context)
    assert deferred.timeout.total_seconds() > 1 + 30  # the worker ends it, not Airflow
    wait_for(lambda: processes_with(str(work_dir)))
    event = follow(deferred)
    assert event["exit_code"] == 124
    with pytest.raises(WorkerError, match="was ended after its time limit of 1 seconds, or killed"):
        make(PrefetchOperator, scanned, time_limit=1).execute_complete(context, event)
    assert processes_with(str(work_dir)) == []


def test_killing_a_task_ends_its_job(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    hold_back_prefetch(work_dir, scanned)
    operator = make(PrefetchOperator, scanned)
    submit(operator, context)
    wait_for(lambda: processes_with("prefetch.py") and (jobs(work_dir)[0] / "pid").exists())
    operator.on_kill()
    wait_for(lambda: not processes_with(str(work_dir)))


HOSTILE = [
    "{{ 7*7 }}",
    "{% for x in [1] %}{{ x }}{% endfor %}",
    "0001; rm -rf /",
    "0001\nid",
    "$(id)",
    "../0001",
    "00001",
    "",
    None,
]


def test_only_ids_of_the_expected_form_are_used(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    before = sorted(work_dir.rglob("*"))
    for kind, field, hostile in itertools.product((PrefetchOperator, ScanOperator), ("scan_id", "shard"), HOSTILE):
        operator = make(kind, scanned, **{field: hostile})
        operator.render_template_fields(context)
        with pytest.raises(ValueError, match="not a scan id and shard ids"):
            operator.execute(context)
    assert sorted(work_dir.rglob("*")) == before


def test_what_is_no_template_is_not_rendered(worker: Worker, settings: Settings, scanned: Scanned, context) -> None:
    operator = make(ScanOperator, scanned)
    operator.command = operator.remote_base_dir = "{{ 7*7 }}"
    operator.render_template_fields(context)
    assert (operator.command, operator.remote_base_dir) == ("{{ 7*7 }}", "{{ 7*7 }}")


@pytest.mark.parametrize("kind", [PrefetchOperator, ScanOperator])
def test_nothing_runs_on_a_machine_that_is_not_the_worker(
    worker: Worker,
    connect: Connect,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    work_dir: Path,
    kind: type[WorkerJobOperator],
) -> None:
    before = sorted(work_dir.rglob("*"))
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    connect(extra={"host_key": other})
    with pytest.raises(WorkerError, match="another host key than the one pinned"):
        make(kind, scanned).execute(context)
    connect(port=free_port())
    with pytest.raises(WorkerError, match="cannot be reached"):
        make(kind, scanned).execute(context)
    assert sorted(work_dir.rglob("*")) == before
