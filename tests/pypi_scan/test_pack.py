"""The dataset directory, judged by the tools that its readers have."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libtorrent
import pytest
import zstandard

from pypi_scan.manifest import parse_manifest
from pypi_scan.pack import PackError, pack_scan
from pypi_scan.plan import PlanError
from pypi_scan.signing import SigningKey, new_key_pair

CDN = "https://cdn.example"
KEY = SigningKey(new_key_pair()[0])
NAMES = ["a", "a-b", "b", "c", "d", "e"]
FILES = {
    "README.txt",
    "checksums.md5.txt",
    "checksums.sha256.txt",
    "dataset.index.json",
    "dataset.sqlite.zst",
    "dataset.torrent",
    "dataset.zst",
    "detections.parquet",
    "input_packages.txt",
    "joblog.txt",
    "manifest.json",
    "manifest.json.minisig",
    "package_list.txt",
    "packages.jsonl.zst",
    "packages.parquet",
    "record.schema.json",
    "rejected.jsonl.zst",
}


@pytest.fixture
def scan(make_scan: Callable[..., Any]) -> Any:
    """A scan of three shards and a package that cannot be scanned, with results; package c has no record."""
    scan = make_scan({**dict.fromkeys(NAMES), "bad": b"{"}, shards=3)
    for shard in scan.division.shard_ids:
        results = scan.results(shard)
        if any(status["name"] == "c" for status in results.statuses):
            results.fail("c", "timeout")
        results.accept()
    return scan


@pytest.fixture
def dataset(scan: Any) -> Path:
    """The packed dataset of that scan."""
    scan.pack(key=KEY)
    return Path(scan.directory / "dataset")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def records(path: Path) -> list[dict[str, Any]]:
    """The records as a reader sees them: by the zstd program where there is one."""
    if zstd := shutil.which("zstd"):
        content = subprocess.run([zstd, "-dc", path], check=True, capture_output=True).stdout
    else:
        with zstandard.open(path, "rb") as file:
            content = file.read()
    return [json.loads(line) for line in content.splitlines()]


def test_the_dataset_is_complete(dataset: Path) -> None:
    assert {path.name for path in dataset.iterdir()} == FILES


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_the_checksums_are_right_and_of_every_other_file(dataset: Path, algorithm: str) -> None:
    name = f"checksums.{algorithm}.txt"
    command = [f"{algorithm}sum", "--check", "--strict", name]
    done = subprocess.run(command, cwd=dataset, capture_output=True, text=True, check=True)
    checked = {line.removesuffix(": OK") for line in done.stdout.splitlines()}
    # Each list leaves out itself and what comes after it: the torrent, and for the first one the second.
    later = {"dataset.torrent"} | ({"checksums.md5.txt"} if algorithm == "sha256" else set())
    assert checked == FILES - {name} - later
    (dataset / "joblog.txt").write_text("tampered with")
    assert subprocess.run(command, cwd=dataset, capture_output=True, check=False).returncode == 1


def test_lists_and_records_agree(dataset: Path, read_zst: Callable[[Path], list[dict[str, Any]]]) -> None:
    with_record = lines(dataset / "package_list.txt")
    inputs = lines(dataset / "input_packages.txt")
    statuses = read_zst(dataset / "packages.jsonl.zst")
    assert with_record == ["a", "a-b", "b", "d", "e"]
    assert sorted(record["pypi"]["name"] for record in records(dataset / "dataset.zst")) == with_record
    assert inputs == sorted([*NAMES, "bad"])
    assert [status["name"] for status in statuses] == inputs
    assert [status["name"] for status in statuses if status["record"]] == with_record
    assert {status["name"]: status["status"] for status in statuses if status["status"] != "ok"} == {
        "bad": "skipped",
        "c": "timeout",
    }


def test_the_joblog_is_numbered_through_under_one_header(dataset: Path) -> None:
    header, *rows = [line.split("\t") for line in lines(dataset / "joblog.txt")]
    assert header == ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"]
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(NAMES) + 1)]
    assert sorted(row[-1] for row in rows) == [f"scan {name}" for name in NAMES]


def test_the_manifest_is_right(scan: Any, dataset: Path) -> None:
    manifest = parse_manifest((dataset / "manifest.json").read_bytes())
    assert (manifest.scan_id, manifest.as_of, manifest.mirror_serial) == ("2026-11-01", "2026-11-01T00:00:00Z", 123)
    assert (manifest.counts.input, manifest.counts.records) == (7, 5)
    assert manifest.counts.by_status == {"ok": 5, "skipped": 1, "timeout": 1}
    assert manifest.scanner.version == "2.1"
    assert {"python", "global-pypi-scan", "apache-airflow", "duckdb", "zstandard"} <= manifest.versions.keys()
    assert not manifest.partial
    assert {file.name for file in manifest.files} == FILES - {
        "manifest.json", "manifest.json.minisig", "checksums.md5.txt", "checksums.sha256.txt", "dataset.torrent",
    }  # fmt: skip
    for file in manifest.files:
        content = (dataset / file.name).read_bytes()
        assert file.size == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.md5 == hashlib.md5(content).hexdigest()


def test_the_readme_gives_the_counts(dataset: Path) -> None:
    readme = (dataset / "README.txt").read_text()
    assert "7 packages were asked for, 5 have a record." in readme
    assert "(aura-security 2.1)" in readme
    assert "serial 123" in readme
    assert all(name in readme for name in FILES - {"README.txt"})


def test_packing_twice_gives_the_same_bytes(scan: Any, dataset: Path) -> None:
    content = {path.name: path.read_bytes() for path in dataset.iterdir()}
    (dataset / "left-over.txt").write_text("of a pack that was killed")
    scan.pack(key=KEY)
    assert {path.name: path.read_bytes() for path in dataset.iterdir()} == content


def test_the_torrent_is_of_every_other_file_and_leads_to_the_cdn(dataset: Path) -> None:
    torrent = libtorrent.bdecode((dataset / "dataset.torrent").read_bytes())
    assert torrent.keys() == {b"info", b"url-list"}
    assert torrent[b"url-list"] == b"https://cdn.example/pypi_datasets/"
    assert torrent[b"info"][b"name"] == b"2026-11-01"
    sizes = {file[b"path"][0].decode(): file[b"length"] for file in torrent[b"info"][b"files"]}
    assert sizes == {name: (dataset / name).stat().st_size for name in FILES - {"dataset.torrent"}}
    content = b"".join((dataset / name).read_bytes() for name in sizes)
    assert torrent[b"info"][b"pieces"] == hashlib.sha1(content).digest()  # so little is one piece


def test_missing_results_are_named(scan: Any) -> None:
    for shard in ("0001", "0003"):
        shutil.rmtree(scan.directory / "results" / shard)
    with pytest.raises(PackError, match="shards 0001, 0003 have no results"):
        scan.pack()


@pytest.mark.parametrize("change", [{"version": "2.2"}, {"python": "3.10.1"}, {"settings": {"timeout": 60.0}}])
def test_results_of_different_scanners_are_refused(scan: Any, change: dict[str, Any]) -> None:
    path = scan.directory / "results" / "0002" / "scanner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PackError, match=r"shards 0001 and 0002 were not scanned alike: .* is .* and "):
        scan.pack()


@pytest.mark.parametrize("first", [0, 1])
def test_results_that_are_not_those_of_the_plan_are_refused(scan: Any, first: int) -> None:
    path = scan.directory / "results" / "0001" / "status.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[first : first + 1]))
    with pytest.raises(PackError, match="not those of the input packages"):
        scan.pack()


def test_statuses_of_an_earlier_plan_of_as_many_packages_are_refused(scan: Any) -> None:
    path = scan.directory / "results" / "0003" / "status.jsonl"
    path.write_text(path.read_text().replace('"name":"e"', '"name":"x"').replace('"name":"d"', '"name":"da"'))
    with pytest.raises(PackError, match="in place of"):
        scan.pack()


def test_a_failed_pack_leaves_no_manifest(scan: Any, dataset: Path) -> None:
    (scan.directory / "results" / "0001" / "status.jsonl").write_bytes(b"")
    with pytest.raises(PackError):
        scan.pack()
    assert not (dataset / "manifest.json").exists()


@pytest.mark.parametrize("made_anew", [False, True])
def test_editions_of_other_results_are_refused(scan: Any, dataset: Path, made_anew: bool) -> None:
    if made_anew:
        part = scan.directory / "results" / "0002" / "part.parquet"
        shutil.copyfile(part, part.with_name("copy"))
        part.with_name("copy").replace(part)
    else:
        shutil.rmtree(scan.directory / "editions")
    with pytest.raises(PackError, match="clear the task editions, then pack"):
        pack_scan(scan.directory, CDN)


def test_a_directory_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no readable plan"):
        pack_scan(tmp_path, CDN)


def test_many_shards_need_few_open_files(make_scan: Callable[..., Any]) -> None:
    scan = make_scan(dict.fromkeys(f"p{number}" for number in range(60)), shards=60)
    for shard in scan.division.shard_ids:
        scan.results(shard).accept()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(descriptor) for descriptor in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        assert scan.pack().counts.records == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
