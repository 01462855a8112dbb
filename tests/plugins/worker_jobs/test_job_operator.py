"""Jobs on a worker from end to end: the operator submits, the trigger follows, the operator takes the outcome."""

import asyncio
import fcntl
import itertools
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.module_loading import import_string

from demo.processes import free_port
from pypi_scan.accept import accept_results
from pypi_scan.fleet import Capacity, FleetShard
from pypi_scan.fleet_file import open_fleet
from pypi_scan.record_store import RecordStore
from pypi_scan.redaction_key import REDACTION_KEY
from pypi_scan.results import RESULT_FILES, read_scanner
from pypi_scan.scan_progress import read_progress
from pypi_scan.settings import Settings
from worker_jobs import claim_trigger, job_operator, job_trigger
from worker_jobs.failures import (
    RETRY_POLICY,
    BadResultsError,
    JobLostError,
    JobTimeoutError,
    OutOfRoomError,
    ScannerBrokenError,
    WorkerError,
    WorkerRefusedError,
    WorkerUnreachableError,
)
from worker_jobs.job_operator import CollectOperator, PrefetchOperator, ScanOperator, ShardOperator
from worker_jobs.worker import Worker

from .conftest import CONN_ID, PROJECT, Connect, Scanned, fleet_of, place, processes_with, wait_for
from .small_mirror import SOURCES

FETCHED = FleetShard(1.0, worker=CONN_ID, fetched=True)


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for room and at jobs all the time, and do not wait for who does not answer."""
    for module in (claim_trigger, job_trigger):
        monkeypatch.setattr(module, "_POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYPI_SCAN_WORKER_PATIENCE", "0.01")


@pytest.fixture
def worker(worker: Worker, scanned: Scanned) -> Worker:
    """The machine as a worker that has been prepared."""
    ignored = shutil.ignore_patterns("__pycache__")
    scripts = Path(worker.scripts_dir(scanned.scan_id))
    shutil.copytree(PROJECT / "include" / "scripts", scripts, ignore=ignored)
    key = Path(worker.redaction_key(scanned.scan_id))
    key.parent.mkdir()
    shutil.copy(scanned.scans_dir.parent / REDACTION_KEY, key)
    return worker


@pytest.fixture
def context() -> dict[str, Any]:
    """What the operators use of a task's context."""
    return {"params": {"package_timeout": 900}}


def make(kind: type[ShardOperator], scanned: Scanned, **arguments: Any) -> ShardOperator:
    ids = {"scan_id": scanned.scan_id, "shard": scanned.shard}
    return kind(**{"task_id": "job", **ids, **arguments})


def submit(operator: ShardOperator, context: dict[str, Any]) -> TaskDeferred:
    """Execute up to the job's deferral: what waits for a worker before it goes on with the one it gets."""
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    if deferred.value.method_name == "execute_complete":
        return deferred.value
    event = follow(deferred.value)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute_claimed(context, event)
    assert deferred.value.method_name == "execute_complete"
    return deferred.value


def follow(deferred: TaskDeferred) -> dict[str, Any]:
    """Run the trigger as the triggerer does, from its serialized form, and return its event as it is stored."""
    path, arguments = deferred.trigger.serialize()
    trigger = import_string(path)(**json.loads(json.dumps(arguments)))

    async def first_event() -> Any:
        return await anext(trigger.run())

    return json.loads(json.dumps(asyncio.run(asyncio.wait_for(first_event(), 60)).payload))


def run(kind: type[ShardOperator], scanned: Scanned, context: dict[str, Any]) -> Any:
    """Run a task to its end. A deferred task goes on in another process: with another instance of its operator."""
    method, arguments = "execute", []
    while True:
        try:
            return getattr(make(kind, scanned), method)(context, *arguments)
        except TaskDeferred as deferred:
            method, arguments = deferred.method_name, [follow(deferred)]


def jobs(work_dir: Path) -> list[Path]:
    return sorted(work_dir.glob("scans/*/jobs/*"))


@pytest.fixture
def not_its_turn(settings: Settings, scanned: Scanned, work_dir: Path) -> Iterator[None]:
    """A worker that has the shard ready to be scanned, and scans another one."""
    place(settings, scanned, fetched=True)
    shard = work_dir / "scans" / scanned.scan_id / "shards" / f"{scanned.shard}.jsonl.zst"
    shard.parent.mkdir(parents=True)
    shutil.copy(settings.scans_dir / scanned.scan_id / "shards" / shard.name, shard)
    (work_dir / "cores").mkdir()
    with (work_dir / "cores" / ".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield


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
    state = fleet_of(settings, scanned).shards[scanned.shard]
    assert (state.worker, state.fetched, state.scanned, state.scans) == (CONN_ID, True, True, [CONN_ID])
    results = on_worker / "results" / scanned.shard
    with RecordStore.in_directory(settings.state_dir) as store:
        planned = settings.scans_dir / scanned.scan_id / "shards" / shard
        assert accept_results(planned, results, read_scanner(results), store).by_status == {"ok": 2}
    assert {path.name for path in results.iterdir()} >= set(RESULT_FILES)
    scanner = json.loads((results / "scanner.json").read_text())
    assert (scanner["settings"]["timeout"], scanner["settings"]["secrets"]) == (900, "redacted")
    assert jobs(work_dir) == []
    assert run(CollectOperator, scanned, context)["by_status"] == {"ok": 2}


def test_no_package_is_named_in_a_command(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    deferred = submit(make(PrefetchOperator, scanned), context)
    (job,) = jobs(work_dir)
    for text in (repr(deferred.trigger.serialize()), (job / "order.json").read_text()):
        assert not any(name in text for name in SOURCES)
    make(PrefetchOperator, scanned).execute_complete(context, follow(deferred))


def test_the_scan_uses_the_cores_and_the_dataset_of_the_worker(
    connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    worker = connect()
    (program,) = make(ScanOperator, scanned).programs(worker, settings, context, FETCHED)
    assert program.command[-1] == "--jobs=2"
    (settings.scans_dir / scanned.scan_id / "aura_dataset.tgz").touch()
    worker = connect(extra={"cores": None})
    (program,) = make(ScanOperator, scanned).programs(worker, settings, context, FETCHED)
    assert program.command[-1] == f"--dataset={worker.dataset_dir(scanned.scan_id)}"


def test_a_scan_quotes_secrets_only_if_it_is_set(
    worker: Worker,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    option = f"--redaction-key={worker.redaction_key(scanned.scan_id)}"
    (program,) = make(ScanOperator, scanned).programs(worker, settings, context, FETCHED)
    assert option in program.command
    monkeypatch.setenv("PYPI_SCAN_KEEP_SECRETS", "true")
    (program,) = make(ScanOperator, scanned).programs(worker, Settings.load(), context, FETCHED)
    assert option not in program.command


def test_a_program_that_fails_says_why(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYPI_SCAN_MIRROR_SOURCE", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WorkerError) as error:
        run(PrefetchOperator, scanned, context)
    message = str(error.value)
    assert message.startswith(f"worker {CONN_ID}: prefetch of shard {scanned.shard}: not one of 2 files could be")
    assert message.endswith("run the same command again (exit code 1)")
    assert "\n" not in message


@pytest.fixture
def unreadable(worker: Worker, settings: Settings, work_dir: Path, scanned: Scanned) -> Path:
    """A shard on the worker that cannot be read."""
    place(settings, scanned, fetched=True)
    shard = work_dir / "scans" / scanned.scan_id / "shards" / f"{scanned.shard}.jsonl.zst"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"not a zstd file")
    return shard


def test_a_failed_job_says_why_and_is_kept(
    unreadable: Path, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    with pytest.raises(WorkerError, match=rf"scan of shard 0001: .*{unreadable.name}.* \(exit code 1\)$"):
        run(ScanOperator, scanned, context)
    (job,) = jobs(work_dir)  # for whoever looks into it
    assert "error: " in (job / "log").read_text()


def python_that(tmp_path: Path, does: str) -> Path:
    """Make an interpreter that runs job.py, and does something else instead of any other program."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\ncase "$*" in *job.py*) exec {sys.executable} "$@";; esac\n{does}\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("does", "kind", "message", "tried_again"),
    [
        ("set -e; echo 'its last words' >&2; exit 42", WorkerError, r"its last words \(exit code 42\)$", True),
        ("echo 'error: \033[2Jnone left'; exit 73", OutOfRoomError, r"\\x1b\[2Jnone left \(exit code 73\)$", True),
        ("exit 70", ScannerBrokenError, "no error message", False),
        ("kill -9 $$", JobLostError, "it was killed by SIGKILL", True),
    ],
)
def test_each_kind_of_end_has_its_exception(
    worker: Worker,
    connect: Connect,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    tmp_path: Path,
    does: str,
    kind: type[WorkerError],
    message: str,
    tried_again: bool,
) -> None:
    connect(extra={"python": str(python_that(tmp_path, does))})
    place(settings, scanned, fetched=True)
    with pytest.raises(kind, match=rf"worker {CONN_ID}: scan of shard 0001: .*{message}") as error:
        run(ScanOperator, scanned, context)
    assert type(error.value) is kind
    decision = RETRY_POLICY.evaluate(error.value, 1, 5)
    assert (decision.action is not RetryAction.FAIL) is tried_again


@pytest.mark.usefixtures("not_its_turn")
def test_a_job_is_ended_after_its_time_limit(
    worker: Worker,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    work_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_operator, "SCAN_SECONDS", 1)
    deferred = submit(make(ScanOperator, scanned), context)
    assert deferred.timeout.total_seconds() > 1 + 600  # the worker ends it, not Airflow
    with pytest.raises(JobTimeoutError, match="not done after its limit of 1 seconds"):
        make(ScanOperator, scanned).execute_complete(context, follow(deferred))
    wait_for(lambda: not processes_with(str(work_dir)))


@pytest.mark.usefixtures("not_its_turn")
def test_killing_a_task_ends_its_job(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    operator = make(ScanOperator, scanned)
    submit(operator, context)
    wait_for(lambda: processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py"))
    operator.on_kill()
    wait_for(lambda: not processes_with(str(work_dir)))


@pytest.mark.usefixtures("not_its_turn")
@pytest.mark.parametrize("left", ["nothing", "the program"])
def test_a_job_that_was_killed_is_noticed(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path, left: str
) -> None:
    deferred = submit(make(ScanOperator, scanned), context)
    wait_for(lambda: processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py"))
    (group,) = processes_with(f"supervise\0{work_dir}")
    os.kill(group, signal.SIGKILL)
    if left == "nothing":
        os.killpg(group, signal.SIGKILL)
    event = follow(deferred)
    assert event["how"] == "lost"
    with pytest.raises(JobLostError, match="the job is gone: it was killed, or its machine has restarted"):
        make(ScanOperator, scanned).execute_complete(context, event)
    wait_for(lambda: not processes_with(str(work_dir)))
    assert fleet_of(settings, scanned).shards[scanned.shard].fetched  # it goes on where it stopped


@pytest.mark.usefixtures("not_its_turn")
def test_a_retry_follows_the_job_that_still_runs(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    before = submit(make(ScanOperator, scanned), context)
    wait_for(lambda: processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py"))
    programs = sorted(processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py"))
    submit(make(ScanOperator, scanned), context)
    assert sorted(processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py")) == programs
    path, arguments = before.trigger.serialize()
    asyncio.run(import_string(path)(**arguments).on_kill())  # late: as where a task is cleared
    assert sorted(processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py")) == programs
    assert follow(before)["how"] == "taken_over"
    (state,) = fleet_of(settings, scanned).shards.values()
    assert state.scans == [CONN_ID]


@pytest.mark.usefixtures("not_its_turn")
def test_a_deferred_task_that_a_person_clears_ends_its_job(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any], work_dir: Path
) -> None:
    deferred = submit(make(ScanOperator, scanned), context)
    wait_for(lambda: processes_with(f"{work_dir}/scans/{scanned.scan_id}/scripts/scan_shard.py"))
    path, arguments = deferred.trigger.serialize()
    asyncio.run(import_string(path)(**arguments).on_kill())
    wait_for(lambda: not processes_with(str(work_dir)))
    with pytest.raises(JobLostError, match="ended, as it was asked to"):
        make(ScanOperator, scanned).execute_complete(context, follow(deferred))
    assert fleet_of(settings, scanned).workers[CONN_ID].strikes == 0


def test_the_log_is_told_once_by_whichever_triggerer_and_progress_is_noted(
    worker: Worker,
    connect: Connect,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = tmp_path / "go_on"
    lines = f"seq 1 20000; while [ ! -e {go_on} ]; do sleep 0.02; done; echo last"
    told = {"label": "scan", "done": 3, "failed": 1, "total": 4, "rate": 0.5}
    progress = worker.job_dir(scanned.scan_id, scanned.shard) / "progress.json"
    connect(
        extra={
            "python": str(python_that(tmp_path, f"echo '{json.dumps(told)}' > {shlex.quote(str(progress))}; {lines}"))
        }
    )
    place(settings, scanned, fetched=True)
    logged: list[str] = []

    def note(message: str, *arguments: object) -> None:
        logged.append(message % arguments)

    log = SimpleNamespace(info=note, warning=note)
    monkeypatch.setattr(job_trigger.WorkerJobTrigger, "log", log)
    deferred = submit(make(ScanOperator, scanned), context)

    async def first_triggerer() -> None:
        path, arguments = deferred.trigger.serialize()
        following = asyncio.ensure_future(anext(import_string(path)(**arguments).run()))
        while "[remote] 20000" not in logged and not following.done():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # it tells the worker that it has got all of it
        following.cancel()
        await asyncio.wait([following])

    asyncio.run(asyncio.wait_for(first_triggerer(), 30))
    go_on.touch()
    make(ScanOperator, scanned).execute_complete(context, follow(deferred))
    assert logged == [f"[remote] {line}" for line in (*range(1, 20001), "last")]
    (noted,) = read_progress(settings.scans_dir / scanned.scan_id).values()
    assert (noted.step, noted.done, noted.failed, noted.total, noted.seconds_left) == ("scan", 3, 1, 4, 2.0)


@pytest.mark.parametrize("said", ["lies", '{"how": "running"}', "[]", "\\377", "x" * 2_000_000])
def test_a_worker_that_answers_nonsense_has_lost_the_job(
    worker: Worker,
    connect: Connect,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    tmp_path: Path,
    said: str,
) -> None:
    place(settings, scanned, fetched=True)
    (tmp_path / "said").write_text(said)
    program = python_that(tmp_path, "exit 0")
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *job.py*look*) cat {tmp_path}/said;; *) exec {sys.executable} "$@";; esac\n'
    )
    connect(extra={"python": str(program)})
    with pytest.raises(JobLostError, match="not a status"):
        run(ScanOperator, scanned, context)


@pytest.fixture
def second(
    worker: Worker, connect: Connect, settings: Settings, scanned: Scanned, tmp_path: Path, context: dict[str, Any]
) -> Worker:
    """A second worker, and a shard that is scanned on the first one, from which nothing has been collected yet."""
    other = connect(conn_id="second", extra={"work_dir": str(tmp_path / "second"), "cores": 1})
    shutil.copytree(worker.scan_dir(scanned.scan_id), other.scan_dir(scanned.scan_id))
    for kind in (PrefetchOperator, ScanOperator):
        run(kind, scanned, context)
    with open_fleet(settings.scans_dir / scanned.scan_id) as fleet:
        fleet.admit("second", Capacity(1))
    return other


def test_a_worker_that_is_lost_before_its_results_are_collected(
    second: Worker, connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    connect(port=free_port())
    assert run(CollectOperator, scanned, context)["by_status"] == {"ok": 2}
    fleet = fleet_of(settings, scanned)
    state = fleet.shards[scanned.shard]
    assert (state.worker, state.failed_on, state.scans) == ("second", [CONN_ID], [CONN_ID, "second"])
    assert fleet.workers[CONN_ID].strikes == 1
    assert Path(second.cache_dir(scanned.scan_id, scanned.shard), "web").exists()


def test_results_that_are_lies_are_made_anew_by_another_worker(
    second: Worker, worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    Path(worker.results_dir(scanned.scan_id, scanned.shard), "records.jsonl.zst").write_bytes(b"lies")
    assert run(CollectOperator, scanned, context)["by_status"] == {"ok": 2}
    assert fleet_of(settings, scanned).shards[scanned.shard].worker == "second"


def test_results_that_are_lies_are_made_anew_where_there_is_no_other_worker(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    for kind in (PrefetchOperator, ScanOperator):
        run(kind, scanned, context)
    Path(worker.results_dir(scanned.scan_id, scanned.shard), "records.jsonl.zst").write_bytes(b"lies")
    with pytest.raises(BadResultsError, match="unusable results"):
        run(CollectOperator, scanned, context)
    assert run(CollectOperator, scanned, context)["by_status"] == {"ok": 2}  # as a retry


def test_a_worker_that_is_lost_in_mid_scan(
    second: Worker, connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    place(settings, scanned, fetched=True, started=1.0, scans=[CONN_ID])
    lost = {"how": "unreachable", "message": "worker pypi_worker cannot be reached: connection refused"}
    with pytest.raises(TaskDeferred) as deferred:
        make(ScanOperator, scanned).execute_complete(context, lost)
    assert deferred.value.method_name == "execute_claimed"
    event = follow(deferred.value)
    assert event == {"worker": "second"}
    with pytest.raises(TaskDeferred) as job:
        make(ScanOperator, scanned).execute_claimed(context, event)
    make(ScanOperator, scanned).execute_complete(context, follow(job.value))
    assert run(CollectOperator, scanned, context)["by_status"] == {"ok": 2}


def test_without_another_worker_a_lost_one_is_tried_again(
    worker: Worker, connect: Connect, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    for kind in (PrefetchOperator, ScanOperator):
        run(kind, scanned, context)
    connect(port=free_port())
    with pytest.raises(WorkerUnreachableError, match="cannot be reached"):
        run(CollectOperator, scanned, context)
    connect()
    assert run(CollectOperator, scanned, context)["by_status"] == {"ok": 2}


def test_a_shard_waits_for_room_and_is_told_of_other_workers(
    worker: Worker,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_fleet(settings.scans_dir / scanned.scan_id) as fleet:
        for number in range(settings.prefetch_ahead + 1):
            fleet.shards[f"100{number}"] = FleetShard(1.0, worker=CONN_ID)
    with pytest.raises(TaskDeferred) as deferred:
        make(PrefetchOperator, scanned).execute(context)
    monkeypatch.setenv("AIRFLOW_VAR_PYPI_WORKERS", f"{CONN_ID} not_a_connection")
    event = follow(deferred.value)
    assert event == {"listed": [CONN_ID, "not_a_connection"]}
    with pytest.raises(TaskDeferred) as deferred:
        make(PrefetchOperator, scanned).execute_claimed(context, event)
    with open_fleet(settings.scans_dir / scanned.scan_id) as fleet:
        assert "not_a_connection" in fleet.workers["not_a_connection"].left_out
        fleet.done("1000")
    assert follow(deferred.value) == {"worker": CONN_ID}


def test_without_workers_a_shard_fails_and_says_why(
    worker: Worker, settings: Settings, scanned: Scanned, context: dict[str, Any]
) -> None:
    with open_fleet(settings.scans_dir / scanned.scan_id) as fleet:
        fleet.leave_out(CONN_ID, "shows another host key")
    with pytest.raises(WorkerError, match=r"no worker is left .*: pypi_worker shows another host key"):
        run(PrefetchOperator, scanned, context)


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


@pytest.mark.parametrize("kind", [PrefetchOperator, ScanOperator])
def test_nothing_runs_on_a_machine_that_is_not_the_worker(
    worker: Worker,
    connect: Connect,
    settings: Settings,
    scanned: Scanned,
    context: dict[str, Any],
    work_dir: Path,
    kind: type[ShardOperator],
) -> None:
    place(settings, scanned)
    before = sorted(work_dir.rglob("*"))
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    connect(extra={"host_key": other})
    with pytest.raises(WorkerRefusedError, match="another host key than the one pinned"):
        run(kind, scanned, context)
    connect(port=free_port())
    with pytest.raises(WorkerError, match="cannot be reached"):
        run(kind, scanned, context)
    assert sorted(work_dir.rglob("*")) == before
