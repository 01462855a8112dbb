"""The main job, run by the real scheduler: what upstream holds comes out on the CDN.

The tests build on each other's world: `first_sync` syncs once, `first_scan` scans once; later ones move the world on.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import httpx
import pytest
import zstandard
from tests.documentation import blocks

from demo.airflow_services import PROJECT
from demo.processes import DemoError
from demo.upstream import publish_release
from pypi_scan.results import JOBLOG_HEADER
from pypi_scan.torrent import magnet_link

pytestmark = pytest.mark.world


def states(tasks):
    """{task_id: state}, for tasks that are not mapped."""
    return {task["task_id"]: task["state"] for task in tasks if task["map_index"] < 0}


def lines(content):
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
    return [json.loads(line) for line in io.TextIOWrapper(reader, encoding="utf-8")]


def regenerations(live):
    return [run for run in live.airflow.runs("dataset_regeneration") if run["run_type"] == "asset_triggered"]


def wait_for_regeneration(live, number):
    """Wait until the sync's asset has started run `number` of dataset_regeneration, and until that run has ended."""
    deadline = datetime.now(UTC).timestamp() + 60
    while len(runs := regenerations(live)) < number:
        assert datetime.now(UTC).timestamp() < deadline, "the asset did not start dataset_regeneration"
    *_, tasks = live.airflow.follow("dataset_regeneration", runs[number - 1]["dag_run_id"], 120)
    return tasks


@pytest.fixture(scope="module")
def fetch(live):
    """Read an object of the CDN as the public does."""
    with httpx.Client(base_url=live.world.store.public_url) as http:
        yield lambda key: http.get(f"/{key}").raise_for_status().content


@pytest.fixture(scope="module")
def upstream(live):
    """{canonical name: JSON document} of everything upstream lists."""
    tree = live.world.root / "upstream" / "web" / "pypi"
    documents = (json.loads(path.read_bytes()) for path in tree.glob("*/json"))
    return {document["info"]["name"].lower().replace(".", "-").replace("_", "-"): document for document in documents}


@pytest.fixture(scope="module")
def first_sync(live):
    tasks = live.sync()
    return tasks, wait_for_regeneration(live, 1)


@pytest.fixture(scope="module")
def first_scan(live, first_sync):
    """The id of a scan of everything in two shards."""
    tasks = live.run("global_scan", shards=2, package_timeout=120)
    run_id = tasks[0]["dag_run_id"]
    return tasks, live.airflow.xcom("global_scan", run_id, "plan")["scan_id"]


@pytest.fixture(scope="module")
def dataset(first_scan, fetch):
    """{file name: content} of the published dataset."""
    _, scan_id = first_scan
    manifest = json.loads(fetch(f"pypi_datasets/{scan_id}/manifest.json"))
    names = [file["name"] for file in manifest["files"]]
    names += ["manifest.json", "manifest.json.minisig", "checksums.md5.txt", "checksums.sha256.txt"]
    return {name: fetch(f"pypi_datasets/{scan_id}/{name}") for name in names}


def test_a_sync_that_changed_something_is_followed_by_new_datasets(first_sync):
    sync, regeneration = first_sync
    assert states(sync) == {"sync": "success", "announce": "success", "acknowledge": "success"}
    assert set(states(regeneration).values()) == {"success"}


def test_the_mirror_serves_pip(live, first_sync, pip, tmp_path):
    index = f"--index-url={live.world.mirror.url}/simple/"
    subprocess.run(
        [*pip, "download", "--isolated", "--no-deps", index, "--dest", tmp_path, "demo-speedups"], check=True
    )
    assert len(list(tmp_path.iterdir())) == 1


def test_the_small_datasets_hold_what_upstream_holds(first_sync, fetch, upstream, live, tmp_path):
    names = [
        "aura_dataset.tgz",
        "dependency_list.gz",
        "pypi_download_stats.gz",
        "pypi_download_stats.json",
        "pypi_package_list.gz",
        "pypi_project_status.json.gz",
        "reverse_dependencies.gz",
    ]
    for name in ["md5_checksums.txt", *names]:
        (tmp_path / name).write_bytes(fetch(f"aura/{name}"))
    subprocess.run(["md5sum", "--check", "--strict", "--quiet", "md5_checksums.txt"], cwd=tmp_path, check=True)
    assert {line.split()[1] for line in (tmp_path / "md5_checksums.txt").read_text().splitlines()} == set(names)

    packages = gzip.decompress((tmp_path / "pypi_package_list.gz").read_bytes()).decode().split()
    assert packages == sorted(upstream)
    assert (live.world.mirror.root / "pypi_package_list.txt").read_text().split() == packages

    dependencies = {}
    for line in gzip.decompress((tmp_path / "dependency_list.gz").read_bytes()).splitlines():
        row = json.loads(line)
        dependencies[row["package_name"]] = row["dependencies"]
    assert dependencies["demo-graph"] == ["demo-table"]

    stats = gzip.decompress((tmp_path / "pypi_download_stats.gz").read_bytes()).splitlines()
    origin = json.loads((tmp_path / "pypi_download_stats.json").read_bytes())
    assert (origin["source"], origin["window"], origin["packages"]) == ("file", None, len(stats))

    with tarfile.open(tmp_path / "aura_dataset.tgz") as archive:
        assert archive.getnames() == ["reverse_dependencies.json", "pypi_stats.json"]
        reverse = json.load(archive.extractfile("reverse_dependencies.json"))
    assert "demo-graph" in reverse["demo-table"]
    assert json.loads(gzip.decompress((tmp_path / "reverse_dependencies.gz").read_bytes())) == reverse


def test_every_task_of_the_scan_succeeded_and_mapped_tasks_have_names(first_scan):
    tasks, _ = first_scan
    assert {task["state"] for task in tasks if task["task_id"] != "estimate"} == {"success"}
    scans = [task for task in tasks if task["task_id"] == "shards.scan"]
    assert sorted(task["rendered_map_index"] for task in scans) == ["shard 0001", "shard 0002"]


def test_the_pools_are_made_and_kept_right_by_the_services_of_airflow(live, first_scan):
    pools = {pool["name"]: pool for pool in live.airflow.request("GET", "/pools")["pools"]}
    for name in ("worker_prefetch", "collect"):
        assert pools[name]["include_deferred"] is True  # a deferred job still uses the worker
        assert pools[name]["slots"] > 0


def test_records_and_package_list_name_the_same_packages_once(dataset):
    records = [record["pypi"]["name"] for record in lines(dataset["dataset.zst"])]
    package_list = dataset["package_list.txt"].decode().splitlines()
    assert sorted(records) == package_list
    assert len(set(records)) == len(records)


def test_every_input_package_is_explained(dataset, upstream):
    inputs = dataset["input_packages.txt"].decode().splitlines()
    statuses = {status["name"]: status for status in lines(dataset["packages.jsonl.zst"])}
    assert inputs == sorted(upstream) == list(statuses)
    without_record = {name for name, status in statuses.items() if not status["record"]}
    assert without_record == set(inputs) - set(dataset["package_list.txt"].decode().splitlines())
    assert without_record  # else this shows nothing
    assert all(statuses[name]["reason"] for name in without_record)
    assert statuses["demo-reserved-name"]["status"] == "no_release"
    assert statuses["demo-withdrawn"]["status"] == "no_release"
    assert statuses["demo-truncated"]["status"] == "corrupt"


def test_records_are_of_the_files_that_upstream_has(dataset, upstream):
    for record in lines(dataset["dataset.zst"]):
        document = upstream[record["pypi"]["name"]]
        uploaded = {file["digests"]["sha256"] for file in document["releases"][record["pypi"]["version"]]}
        assert {file["sha256"] for file in record["pypi"]["files"]} == uploaded
        assert record["name"] == f"mirror://{record['pypi']['name']}"


def test_what_behaves_like_malware_is_found(dataset):
    found = {
        record["pypi"]["name"]: {detection["type"] for detection in record["detections"]}
        for record in lines(dataset["dataset.zst"])
    }
    assert "LeakingPyPIrc" in found["demo-leaky-pypirc"]
    assert "SQLInjection" in found["demo-guestbook"]
    assert "Typosquatting" in found["reqeusts"]
    assert "Typosquatting" not in found["demo-greeting"]


def test_no_path_of_the_worker_is_in_the_dataset(dataset, live):
    content = b"".join(json.dumps(record).encode() for record in lines(dataset["dataset.zst"]))
    assert str(live.world.root).encode() not in content


def test_the_joblog_has_a_row_for_every_package_tried(dataset):
    header, *rows = dataset["joblog.txt"].decode().splitlines()
    assert header == JOBLOG_HEADER
    tried = [status["name"] for status in lines(dataset["packages.jsonl.zst"]) if status["status"] != "no_release"]
    assert sorted(row.split("\t")[8] for row in rows) == sorted(f"scan {name}" for name in tried)
    assert [int(row.split("\t")[0]) for row in rows] == list(range(1, len(rows) + 1))


def test_checksums_are_those_of_md5sum(dataset, tmp_path):
    for name, content in dataset.items():
        (tmp_path / name).write_bytes(content)
    for tool in ("md5", "sha256"):
        command = [f"{tool}sum", "--check", "--strict", "--quiet", f"checksums.{tool}.txt"]
        subprocess.run(command, cwd=tmp_path, check=True)
    listed = {line.split()[1] for line in (tmp_path / "checksums.md5.txt").read_text().splitlines()}
    assert listed == dataset.keys() - {"checksums.md5.txt"}


def test_the_published_scan_is_signed(first_scan, fetch, live, tmp_path):
    (tmp_path / "minisign.pub").write_bytes(fetch("pypi_datasets/index/minisign.pub"))
    url = f"{live.world.store.public_url}/pypi_datasets/{first_scan[1]}"
    command = [sys.executable, "-m", "pypi_scan.verify", url, "--public-key", "minisign.pub"]
    done = subprocess.run(
        [*command, "--scan-id", first_scan[1]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Verified scan" in done.stdout
    assert subprocess.run([*command, "--scan-id", "2020-01-01"], cwd=tmp_path, check=False).returncode == 1


def plain_bytes(name, content, directory):
    """What is in a published file, unpacked."""
    path = directory / name
    path.write_bytes(content)
    if name.endswith(".parquet"):
        return str(duckdb.sql(f"FROM '{path}'").fetchall()).encode()
    if not name.endswith(".zst"):
        return content
    plain = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
    if name.endswith(".sqlite.zst"):
        (directory / "plain.sqlite").write_bytes(plain)
        with sqlite3.connect(directory / "plain.sqlite") as database:
            plain += b"".join(zlib.decompress(extra) for (extra,) in database.execute("SELECT extra FROM detections"))
    return plain


def test_no_secret_that_a_package_leaks_is_published(dataset, fetch, tmp_path):
    leaking = {"demo-leaky-pypirc", "demo-cloud-backup", "demo-guestbook"}  # each quotes something not-a-real
    contents = {name: plain_bytes(name, content, tmp_path) for name, content in dataset.items()}
    for name in ("dataset.zst", "dataset.sqlite.zst", "detections.parquet"):
        assert b"[redacted: " in contents[name]
        assert all(package.encode() in contents[name] for package in leaking)
    index = ("datasets.html", "datasets.json", "feed.xml", "dataset_card.md", "croissant.json", "README.txt")
    contents |= {name: fetch(f"pypi_datasets/index/{name}") for name in index}
    assert [name for name, content in contents.items() if b"not-a-real" in content] == []


def test_the_index_lists_the_scan(first_scan, fetch, dataset):
    _, scan_id = first_scan
    index = json.loads(fetch("pypi_datasets/index/datasets.json"))
    (entry,) = [scan for scan in index["scans"] if scan["scan_id"] == scan_id]
    digests = {file["name"]: file["sha256"] for file in entry["files"]}
    assert digests["dataset.zst"] == hashlib.sha256(dataset["dataset.zst"]).hexdigest()
    torrent = fetch(f"pypi_datasets/{scan_id}/dataset.torrent")
    assert digests["dataset.torrent"] == hashlib.sha256(torrent).hexdigest()
    assert entry["magnet"] == magnet_link(torrent, scan_id)
    assert scan_id.encode() in fetch("pypi_datasets/index/datasets.html")


def test_the_worker_is_left_clean(first_scan, live):
    work = live.world.workers[0].home / "pypi-scan"
    assert not list(work.glob("scans/*"))
    assert not list(work.glob("jobs/*"))


def test_a_scan_of_the_past_takes_what_was_the_latest_then(first_scan, live, fetch):
    tasks = live.run("global_scan", as_of="2025-01-01T00:00:00Z", packages=["demo-u*", "Demo.Mixed_Case"], shards=1)
    scan_id = live.airflow.xcom("global_scan", tasks[0]["dag_run_id"], "plan")["scan_id"]
    assert scan_id == "2025-01-01"
    then = {r["pypi"]["name"]: r["pypi"] for r in lines(fetch(f"pypi_datasets/{scan_id}/dataset.zst"))}
    assert then
    for package in then.values():
        assert max(file["upload_time"] for file in package["files"]) < "2025-01-01"
    index = json.loads(fetch("pypi_datasets/index/datasets.json"))
    assert [scan["scan_id"] for scan in index["scans"]] == [first_scan[1], scan_id]


def test_a_dry_run_answers_and_leaves_no_trace(first_scan, dataset, live):
    scans = live.world.scans
    before = sorted(path.name for path in scans.iterdir())
    tasks = live.run("global_scan", package_timeout=120, dry_run=True)
    assert {task["task_id"] for task in tasks if task["state"] == "success"} == {"estimate"}
    assert {task["state"] for task in tasks} == {"success", "skipped"}
    answer = live.airflow.xcom("global_scan", tasks[0]["dag_run_id"], "estimate")
    statuses = {status["name"]: status["status"] for status in lines(dataset["packages.jsonl.zst"])}
    assert answer["input"] == len(statuses)
    assert answer["unscannable"] == sum(status in ("no_release", "skipped") for status in statuses.values())
    assert answer["reused"] == sum(status == "ok" for status in statuses.values())
    assert answer["bytes"] > 0
    assert answer["workers"] == 1
    assert answer["cpu_hours"] > 0
    assert answer["hours"] * answer["cores"] == pytest.approx(answer["cpu_hours"], abs=0.0001 * answer["cores"])
    assert sorted(path.name for path in scans.iterdir()) == before
    assert not list((live.world.workers[0].home / "pypi-scan").glob("scans/*"))


def test_a_sync_without_changes_announces_nothing(first_sync, live):
    before = len(regenerations(live))
    assert states(live.run("pypi_sync")) == {"sync": "success", "announce": "skipped", "acknowledge": "skipped"}
    assert len(regenerations(live)) == before


def test_changed_download_stats_are_followed_by_new_datasets(first_sync, live, fetch):
    before = len(regenerations(live))
    assert states(live.run("download_stats")) == {"fetch": "success", "announce": "skipped"}
    assert len(regenerations(live)) == before
    kept = live.world.root / "state" / "download_stats" / "kept.jsonl"
    header, *counts = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join([header.replace(b'"file"', b'"top_packages"'), *counts]))
    assert set(states(live.run("download_stats")).values()) == {"success"}
    wait_for_regeneration(live, before + 1)
    assert json.loads(fetch("aura/pypi_download_stats.json"))["source"] == "file"


def test_a_new_release_is_synced_and_the_datasets_follow(first_sync, live):
    before = len(regenerations(live))
    publish_release(live.world.root / "upstream", "demo-units", "9.0", uploaded=datetime.now(UTC))
    tasks = live.sync()
    result = live.airflow.xcom("pypi_sync", tasks[0]["dag_run_id"], "sync")
    assert result["changed"] == 1
    wait_for_regeneration(live, before + 1)


@pytest.fixture(scope="module")
def second_scan(first_scan, live):
    """The id of a scan after a new release of demo-units."""
    publish_release(live.world.root / "upstream", "demo-units", "9.0.1", uploaded=datetime.now(UTC))
    live.sync()
    tasks = live.run("global_scan", shards=2, package_timeout=120)
    return live.airflow.xcom("global_scan", tasks[0]["dag_run_id"], "plan")["scan_id"]


def test_the_next_scan_tells_what_changed(first_scan, second_scan, fetch):
    scan_id = second_scan
    assert scan_id == f"{first_scan[1]}-2"
    changes = json.loads(fetch(f"pypi_datasets/{scan_id}/manifest.json"))["changes"]
    told = {line["package"]: line for line in lines(fetch(f"pypi_datasets/{scan_id}/changes.jsonl.zst"))}
    assert (changes["since"], changes["new"], changes["gone"]) == (first_scan[1], 0, 0)
    assert changes["version"] + changes["detections"] == len(told)
    assert (told["demo-units"]["change"], told["demo-units"]["version"]) == ("version", "9.0.1")
    assert b"Other version" in fetch(f"pypi_datasets/{scan_id}/changes.html")
    index = json.loads(fetch("pypi_datasets/index/datasets.json"))
    assert index["latest"] == scan_id
    assert json.loads(fetch("pypi_datasets/latest/manifest.json"))["scan_id"] == scan_id


def test_a_shard_can_be_cleared_after_the_datasets_have_changed(first_sync, live):
    tasks = live.run("global_scan", packages=["demo-u*", "demo-t*"], shards=2, publish=False)
    run_id = tasks[0]["dag_run_id"]
    before = len(regenerations(live))
    publish_release(live.world.root / "upstream", "demo-units", "9.1", uploaded=datetime.now(UTC))
    live.sync()
    wait_for_regeneration(live, before + 1)

    cleared = live.airflow.request(
        "POST",
        "/dags/global_scan/clearTaskInstances",
        json={
            "dag_run_id": run_id,
            "task_ids": [["shards.scan", 0]],
            "include_downstream": True,
            "only_failed": False,
            "dry_run": False,
        },
    )
    assert {task["task_id"] for task in cleared["task_instances"]} >= {"prepare", "shards.prefetch", "shards.scan"}
    *_, tasks = live.airflow.follow("global_scan", run_id, 300)
    tried = {(task["task_id"], task["map_index"]): task["try_number"] for task in tasks}
    assert tried["shards.scan", 0] == 2
    assert states(tasks)["pack"] == "success"


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"shards": 0}, "Invalid input for param shards"),
        ({"package_timeout": "long"}, "Invalid input for param package_timeout"),
        ({"as_of": "yesterday"}, "Invalid input for param as_of"),
        ({"packages": [""]}, "Invalid input for param packages"),
    ],
)
def test_a_bad_param_is_refused_before_a_run_starts(live, conf, message):
    before = len(live.airflow.runs("global_scan"))
    with pytest.raises(DemoError, match=message):
        live.airflow.trigger("global_scan", conf)
    assert len(live.airflow.runs("global_scan")) == before


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"as_of": "2999-01-01T00:00:00Z"}, "lies in the future"),
        ({"packages": ["demo-*", "no-such-package"]}, "matches, 'no-such-package'"),
        ({"as_of": "2001-01-01"}, "had a release to scan"),
    ],
)
def test_a_request_that_makes_no_sense_fails_in_the_first_task(first_sync, live, conf, message):
    run_id = live.airflow.trigger("global_scan", conf)
    with pytest.raises(DemoError, match=message):
        list(live.airflow.follow("global_scan", run_id, 120))
    others = states(live.airflow.task_instances("global_scan", run_id))
    assert (others.pop("plan"), others.pop("estimate")) == ("failed", "skipped")
    assert set(others.values()) <= {"upstream_failed", None}


READERS = ("aria2c", "curl", "jq", "minisign", "sqlite3", "zstd")
needs_readers = pytest.mark.skipif(
    not all(map(shutil.which, READERS)), reason=f"one of these is not installed: {', '.join(READERS)}"
)


@pytest.fixture
def run_block(tmp_path, live, first_scan):
    """Run a block of the documentation in `tmp_path`, as a reader of the small world's CDN would; return its output."""
    settings = tmp_path / "home" / ".aria2" / "aria2.conf"
    settings.parent.mkdir(parents=True)
    off = ("enable-dht=false", "enable-dht6=false", "bt-enable-lpd=false", "enable-peer-exchange=false")
    settings.write_text("\n".join([*off, "interface=127.0.0.1", "disable-ipv6=true"]))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"}
    (extension,) = Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension")
    here = {
        "https://cdn.example": live.world.store.public_url,
        "2026-11-01": first_scan[1],
        "requests": "demo-guestbook",
        ".venv/bin/python": sys.executable,
    }

    def run(block, language="sh"):
        for example, actual in here.items():
            block = block.replace(example, actual)
        if "duckdb" in block:
            block = f"import duckdb\nduckdb.execute(\"INSTALL '{extension}'\")\n{block}"
        command = ["bash", "-euo", "pipefail"] if language == "sh" else [sys.executable]
        done = subprocess.run([*command, "-c", block], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def files(dataset, fetch, tmp_path):
    """The files of the first scan in `tmp_path`, and the public key."""
    for name, content in dataset.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "minisign.pub").write_bytes(fetch("pypi_datasets/index/minisign.pub"))


@needs_readers
def test_the_documented_commands_read_the_dataset(files, dataset, run_block):
    for block in blocks("dataset"):
        assert run_block(block), block
    printed = [run_block(block, "python") for block in blocks("dataset", "python")]
    assert len(printed[0].splitlines()) == len(dataset["package_list.txt"].splitlines())
    assert "demo-guestbook" in printed[1]
    assert "corrupt" in printed[1]


@needs_readers
def test_the_documented_commands_read_from_the_cdn(files, dataset, run_block, first_scan, tmp_path):
    printed = "".join(run_block(block) for block in blocks("cdn"))
    (record,) = [record for record in lines(dataset["dataset.zst"]) if record["pypi"]["name"] == "demo-guestbook"]
    assert json.JSONDecoder().raw_decode(printed)[0] == record
    assert f"\n{record['score']}\n" in printed
    assert "Verified scan" in printed
    assert (tmp_path / first_scan[1] / "dataset.zst").read_bytes() == dataset["dataset.zst"]
    printed = "".join(run_block(block, "python") for block in blocks("cdn", "python"))
    assert "SQLInjection" in printed


@needs_readers
def test_the_documented_commands_tell_what_changed(second_scan, fetch, run_block, tmp_path):
    changes = fetch(f"pypi_datasets/{second_scan}/changes.jsonl.zst")
    (tmp_path / "changes.jsonl.zst").write_bytes(changes)
    assert f"{len(lines(changes))} version" in [run_block(block).strip() for block in blocks("changes")]


def test_the_documented_comparison_of_two_scans(files, run_block, tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
    found = tmp_path / "detections.parquet"
    duckdb.sql(f"COPY (FROM '{found}' WHERE package <> 'demo-guestbook') TO '{tmp_path / 'old' / found.name}'")
    found.rename(tmp_path / "new" / found.name)
    (block,) = blocks("two-scans", "python")
    printed = run_block(block, "python")
    assert "SQLInjection" in printed
    assert set(re.findall(r"demo-[\w-]+", printed)) == {"demo-guestbook"}


def test_the_documented_commands_set_up_airflow(tmp_path):
    first, *others = sorted(blocks("airflow"), key=lambda block: "db migrate" not in block)
    assert "db migrate" in first
    commands = "\n".join([first, *others]).replace("/srv/pypi-scan/keys/minisign.key", str(tmp_path / "minisign.key"))
    commands = commands.replace("new-key /srv/pypi-scan/keys", f"new-key {tmp_path}")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path), "LANG": "C.UTF-8"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=PROJECT, env=env, check=True)
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        connections = {row[0] for row in database.execute("select conn_id from connection")}
        variables = {row[0] for row in database.execute("select key from variable")}
    assert {"pypi_alerts", "pypi_cdn", "pypi_signing", "pypi_worker", "pypi_worker_2"} <= connections
    assert variables == {"pypi_workers"}
