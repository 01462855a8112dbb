"""Prepare a worker, collect results from it, free its disk: with the real programs and the real scanner environment."""

import io
import json
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from demo.processes import free_port
from pypi_scan.fleet import Capacity
from pypi_scan.fleet_file import open_fleet
from pypi_scan.prediction import COSTS, CostModel
from pypi_scan.redaction_key import REDACTION_KEY
from pypi_scan.results import RESULT_FILES, read_statuses
from pypi_scan.settings import Settings
from worker_jobs import tasks
from worker_jobs.failures import WorkerError
from worker_jobs.tasks import (
    cleanup_workers,
    collect_results,
    evict_shard,
    prepare_worker,
    prepare_workers,
    update_workers,
)
from worker_jobs.worker import Worker

from .conftest import CONN_ID, PROJECT, Connect, Scanned, fleet_of, place

SCAN_ID = "2026-01-01"
TIMEOUT = 900  # seconds a package
AURA_DATASET = {"reverse_dependencies.json": b"{}", "pypi_stats.json": b""}


def write_aura_dataset(settings: Settings) -> None:
    path = settings.scans_dir / SCAN_ID / "aura_dataset.tgz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in AURA_DATASET.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_prepare(
    worker: Worker,
    settings: Settings,
    work_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scripts = tmp_path / "scripts"
    shutil.copytree(PROJECT / "include" / "scripts", scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "__pycache__").mkdir()
    (scripts / "__pycache__" / "program.cpython-312.pyc").touch()
    monkeypatch.setattr(tasks, "SCRIPTS", scripts)
    write_aura_dataset(settings)
    of_another_scan = work_dir / "scans" / "2025-01-01" / "results" / "0001" / "records.jsonl.zst"
    of_another_scan.parent.mkdir(parents=True)
    of_another_scan.touch()

    report, scanner = prepare_worker(settings, SCAN_ID, worker, TIMEOUT)

    assert report.python.startswith("3.11.")
    assert report.aura == "2.1"
    assert (scanner.scanner, scanner.version) == ("aura-security", "2.1")
    assert (scanner.settings["timeout"], scanner.settings["secrets"]) == (900, "redacted")
    assert min(report.cores, report.memory_bytes, report.free_bytes) > 0
    assert of_another_scan.exists()  # it may be under way
    assert "also holds the scans ['2025-01-01']" in caplog.text
    on_worker = work_dir / "scans" / SCAN_ID
    shipped = {path.name: path.read_bytes() for path in (on_worker / "scripts").iterdir() if path.is_file()}
    assert shipped == {path.name: path.read_bytes() for path in scripts.iterdir() if path.is_file()}
    assert not (on_worker / "scripts" / "__pycache__" / "program.cpython-312.pyc").exists()
    assert {name: (on_worker / "aura_dataset" / name).read_bytes() for name in AURA_DATASET} == AURA_DATASET


def test_prepare_ships_the_redaction_key_for_the_eyes_of_the_scan_alone(
    worker: Worker, settings: Settings, work_dir: Path
) -> None:
    (settings.scans_dir / SCAN_ID).mkdir()
    prepare_workers(settings, SCAN_ID, TIMEOUT)
    prepare_workers(settings, SCAN_ID, TIMEOUT)  # as when the task is cleared
    kept = settings.state_dir / "redaction.key"
    shipped = Path(worker.redaction_key(SCAN_ID))
    assert shipped.read_text() == kept.read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, shipped, shipped.parent)] == [0o600, 0o600, 0o700]
    cleanup_workers(settings, SCAN_ID)
    assert not shipped.parent.exists()
    assert kept.exists()


def test_prepare_ships_no_key_where_secrets_are_kept(
    worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYPI_SCAN_KEEP_SECRETS", "true")
    prepare_worker(Settings.load(), SCAN_ID, worker, TIMEOUT)
    assert not Path(worker.redaction_key(SCAN_ID)).exists()
    assert not (settings.state_dir / "redaction.key").exists()


def test_prepare_without_an_aura_dataset(worker: Worker, settings: Settings, work_dir: Path) -> None:
    prepare_worker(settings, SCAN_ID, worker, TIMEOUT)
    assert not list((work_dir / "scans" / SCAN_ID / "aura_dataset").iterdir())


def test_a_scanner_environment_that_is_not_the_pinned_one(
    connect: Connect, settings: Settings, worker_python: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    subprocess.run([worker_python, "-m", "venv", "--without-pip", empty], check=True)
    worker = connect(extra={"python": str(empty / "bin" / "python")})
    with pytest.raises(WorkerError) as error:
        prepare_worker(settings, SCAN_ID, worker, TIMEOUT)
    message = str(error.value)
    assert message.startswith(f"worker {CONN_ID}: the scanner environment is not the pinned one (")
    assert "aura-security is not installed" in message
    assert "make it again from requirements.txt" in message


def test_a_python_of_another_version(connect: Connect, settings: Settings) -> None:
    worker = connect(extra={"python": str(PROJECT / ".venv" / "bin" / "python")})
    with pytest.raises(WorkerError, match=r"this is Python 3\.12\.\d+; the scanner environment needs 3\.11"):
        prepare_worker(settings, SCAN_ID, worker, TIMEOUT)


def test_a_python_that_is_not_there(connect: Connect, settings: Settings) -> None:
    worker = connect(extra={"python": "/nowhere/python"})
    with pytest.raises(WorkerError, match=r"/nowhere/python: No such file or directory \(exit code 127\)"):
        prepare_worker(settings, SCAN_ID, worker, TIMEOUT)


@pytest.mark.parametrize("said", ["", "[]", "null", '{"python": "3.11"}', '{"worker": "another", "cores": "many"}'])
def test_a_worker_that_does_not_say_what_it_is(connect: Connect, settings: Settings, tmp_path: Path, said: str) -> None:
    liar = tmp_path / "python"
    liar.write_text(f"#!/bin/sh\necho '{said}'\n")
    liar.chmod(0o755)
    worker = connect(extra={"python": str(liar)})
    with pytest.raises(WorkerError, match="not its report"):
        prepare_worker(settings, SCAN_ID, worker, TIMEOUT)


@pytest.fixture
def remote_results(worker: Worker, work_dir: Path, scanned: Scanned) -> Path:
    """The worker's results of the shard, as the scan has left them there."""
    results = work_dir / "scans" / scanned.scan_id / "results" / scanned.shard
    shutil.copytree(scanned.results, results)
    return results


def kept(settings: Settings, scanned: Scanned) -> dict[str, bytes]:
    """What was collected of the shard, as {name: content}; nothing else may be kept."""
    scan_dir = settings.scans_dir / scanned.scan_id
    assert not (scan_dir / "incoming" / scanned.shard).exists()
    found = {path.relative_to(scan_dir / "results"): path for path in (scan_dir / "results").rglob("*")}
    return {path.name: path.read_bytes() for path in found.values() if path.is_file()}


def test_collect(settings: Settings, scanned: Scanned, remote_results: Path, worker: Worker) -> None:
    for _ in range(2):
        summary = collect_results(settings, scanned.scan_id, scanned.shard, worker)
        assert (summary.packages, summary.records, summary.by_status) == (2, 2, {"ok": 2})
        made_ready = {"frames.json", "rejected.jsonl", "part.sqlite", "part.parquet"}
        found = kept(settings, scanned)
        assert found.keys() == {*RESULT_FILES, *made_ready}
        assert all(found[name] == (scanned.results / name).read_bytes() for name in RESULT_FILES)
    scans = {status.name: status for status in read_statuses(scanned.results)}
    assert scans
    costs = CostModel.load(settings.state_dir / COSTS)
    for name, status in scans.items():  # what they did cost is what they are expected to cost the next time
        assert costs.cost(name, len(status.files), status.bytes) == pytest.approx(status.cpu_seconds)


def replace_by_link(results: Path) -> None:
    (results / "scanner.json").unlink()
    (results / "scanner.json").symlink_to(results.parents[3] / "elsewhere.json")
    (results.parents[3] / "elsewhere.json").write_text("{}")


def leave_out(results: Path) -> None:
    (results / "joblog.txt").unlink()


def name_a_foreign_package(results: Path) -> None:
    lines = [json.loads(line) for line in (results / "status.jsonl").read_text().splitlines()]
    foreign = {**lines[-1], "name": "zzz-not-in-the-shard"}
    (results / "status.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, foreign]))


def cut_the_records(results: Path) -> None:
    records = results / "records.jsonl.zst"
    records.write_bytes(records.read_bytes()[:100])


LIES = [
    (replace_by_link, "is not a regular file"),
    (leave_out, "cannot be read"),
    (name_a_foreign_package, "unusable results of shard 0001: status.jsonl: .*'zzz-not-in-the-shard'"),
    (cut_the_records, "unusable results of shard 0001: records.jsonl.zst: "),
]


@pytest.mark.parametrize(("lie", "said"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_worker_that_lies(
    settings: Settings, scanned: Scanned, remote_results: Path, worker: Worker, lie, said: str
) -> None:
    lie(remote_results)
    with pytest.raises(WorkerError, match=said):
        collect_results(settings, scanned.scan_id, scanned.shard, worker)
    assert kept(settings, scanned) == {}


def test_results_too_large_to_be_true(
    settings: Settings, scanned: Scanned, remote_results: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_MAX_RESULT_BYTES", 100)
    with pytest.raises(WorkerError, match="is larger than 100 bytes"):
        collect_results(settings, scanned.scan_id, scanned.shard, worker)
    assert kept(settings, scanned) == {}


def test_what_was_collected_stays_when_collecting_again_fails(
    settings: Settings, scanned: Scanned, remote_results: Path, worker: Worker
) -> None:
    collect_results(settings, scanned.scan_id, scanned.shard, worker)
    before = kept(settings, scanned)
    cut_the_records(remote_results)
    with pytest.raises(WorkerError):
        collect_results(settings, scanned.scan_id, scanned.shard, worker)
    assert kept(settings, scanned) == before


def test_evict_and_cleanup_free_the_disk(
    settings: Settings, worker: Worker, work_dir: Path, scanned: Scanned, connect: Connect
) -> None:
    scan_id = scanned.scan_id
    for path in ("cache/0001/web/x", "cache/0002/web/x", "results/0001/status.jsonl"):
        for scan in (scan_id, "2026-01-01-2"):
            (work_dir / "scans" / scan / path).parent.mkdir(parents=True)
            (work_dir / "scans" / scan / path).touch()
    connect(conn_id="gone", port=free_port())
    place(settings, scanned, failed_on=["gone"])
    with open_fleet(settings.scans_dir / scan_id) as fleet:
        fleet.admit("gone", Capacity(1))
    evict_shard(settings, scan_id, "0001")
    assert sorted(path.name for path in (work_dir / "scans" / scan_id / "cache").iterdir()) == ["0002"]
    assert fleet_of(settings, scanned).shards["0001"].done
    cleanup_workers(settings, scan_id)
    cleanup_workers(settings, scan_id)
    assert [path.name for path in (work_dir / "scans").iterdir()] == ["2026-01-01-2"]


def test_a_worker_that_cannot_be_used_is_left_out(
    settings: Settings, worker: Worker, scanned: Scanned, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(conn_id="gone", port=free_port())
    monkeypatch.setenv("AIRFLOW_VAR_PYPI_WORKERS", f"gone, {CONN_ID},not_a_connection")
    prepared = prepare_workers(settings, scanned.scan_id, TIMEOUT)
    assert prepared["workers"].keys() == {CONN_ID}
    assert prepared["scanner"]["settings"]["timeout"] == TIMEOUT
    workers = fleet_of(settings, scanned).workers
    assert "cannot be reached" in workers["gone"].left_out
    assert "not_a_connection" in workers["not_a_connection"].left_out
    assert workers[CONN_ID].usable
    assert workers[CONN_ID].capacity == Capacity(2)
    monkeypatch.setenv("AIRFLOW_VAR_PYPI_WORKERS", "gone")
    with pytest.raises(WorkerError, match="no worker can be used: worker gone cannot be reached"):
        prepare_workers(settings, scanned.scan_id, TIMEOUT)


def test_workers_are_added_and_drained_in_mid_scan(
    settings: Settings, worker: Worker, scanned: Scanned, connect: Connect, tmp_path: Path, work_dir: Path
) -> None:
    settings.state_dir.mkdir()
    shutil.copy(scanned.scans_dir.parent / REDACTION_KEY, settings.state_dir)
    second = connect(conn_id="second", extra={"work_dir": str(tmp_path / "second"), "weight": 0.5, "cores": None})
    update_workers(settings, scanned.scan_id, TIMEOUT, ["second"])
    workers = fleet_of(settings, scanned).workers
    assert (workers[CONN_ID].drained, workers["second"].usable) == (True, True)
    assert workers["second"].capacity.weight == 0.5
    assert Path(second.scripts_dir(scanned.scan_id), "scan_shard.py").exists()
    shutil.rmtree(tmp_path / "second")
    update_workers(settings, scanned.scan_id, TIMEOUT, ["second", CONN_ID])
    assert fleet_of(settings, scanned).workers[CONN_ID].usable
    assert Path(worker.scripts_dir(scanned.scan_id), "scan_shard.py").exists()  # it may be another machine now
    assert not (tmp_path / "second").exists()  # nothing is done where nothing has changed


def test_a_worker_with_another_scanner_is_left_out(
    settings: Settings, worker: Worker, scanned: Scanned, connect: Connect, tmp_path: Path
) -> None:
    connect(conn_id="second", extra={"work_dir": str(tmp_path / "second")})
    update_workers(settings, scanned.scan_id, TIMEOUT + 1, ["second", CONN_ID])
    left_out = fleet_of(settings, scanned).workers["second"].left_out
    assert "has another scanner than the others: " in left_out
    assert "timeout is 900.0 and 901.0" in left_out


@pytest.mark.parametrize(("scan_id", "shard"), [("", "0001"), ("..", "0001"), ("2026-01-01", ".."), (None, None)])
def test_nothing_is_touched_for_what_is_no_id(
    settings: Settings, worker: Worker, work_dir: Path, scan_id: str, shard: str
) -> None:
    (work_dir / "scans" / "2026-01-01" / "cache" / "0001").mkdir(parents=True)
    before = sorted([*work_dir.rglob("*"), *settings.scans_dir.rglob("*")])
    with pytest.raises(ValueError, match="not a scan id and shard ids"):
        collect_results(settings, scan_id, shard, worker)
    with pytest.raises(ValueError, match="not a scan id and shard ids"):
        evict_shard(settings, scan_id, shard)
    if scan_id != "2026-01-01":
        with pytest.raises(ValueError, match="not a scan id"):
            cleanup_workers(settings, scan_id)
    assert sorted([*work_dir.rglob("*"), *settings.scans_dir.rglob("*")]) == before
