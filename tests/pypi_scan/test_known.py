"""Known packages: with the records that were kept, the results are those of a scan of everything."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from pypi_scan.divide import divide_scan
from pypi_scan.results import JOBLOG_HEADER, ResultsError, read_statuses

from .conftest import DATASETS, SCANNER, open_store

NAMES = [f"p{number:03}" for number in range(192)]  # blocks of three
FAILED = NAMES[7]


def scan_all(scan: Any, shards: int, downloads: int, *, reuse: bool) -> dict[str, str]:
    """Scan everything in so many shards, pack it, and return the status of each package; the manifest counts them."""
    with open_store(scan.directory.parent) as store:
        division = divide_scan(scan.directory, SCANNER, records=store if reuse else None, shards=shards)
    for shard in division.shard_ids:
        made = scan.results(shard, downloads)
        if any(status["name"] == FAILED for status in made.statuses):
            made.fail(FAILED, "timeout")
        made.accept()
    manifest = scan.pack()
    found = (s for shard in division.shard_ids for s in read_statuses(scan.directory / "results" / shard))
    statuses = {status.name: status.status for status in found}
    assert manifest.counts.by_status == Counter({**statuses, "bad": "skipped"}.values())
    assert manifest.scanner.datasets == DATASETS
    return statuses


def dataset(scan: Any) -> bytes:
    return Path(scan.directory / "dataset" / "dataset.zst").read_bytes()


def test_the_dataset_does_not_depend_on_the_division_or_on_what_is_re_used(make_scan: Callable[..., Any]) -> None:
    scan = make_scan({**dict.fromkeys(NAMES), "bad": b"{"})
    datasets = []
    for shards in (1, 3, 7):
        statuses = scan_all(scan, shards, downloads=5, reuse=False)
        assert statuses == {name: "timeout" if name == FAILED else "ok" for name in NAMES}
        datasets.append(dataset(scan))
    with sqlite3.connect(scan.directory.parent / "records.sqlite") as database:  # every third has another release now
        database.execute("DELETE FROM records WHERE rowid % 3 = 0")
    database.close()
    statuses = scan_all(scan, 2, downloads=7, reuse=True)
    assert list(statuses.values()).count("reused") == 127
    assert statuses[FAILED] == "timeout"
    re_used = dataset(scan)
    statuses = scan_all(scan, 4, downloads=7, reuse=True)
    assert list(statuses.values()).count("reused") == 191
    assert dataset(scan) == re_used
    scan_all(scan, 1, downloads=7, reuse=False)
    assert dataset(scan) == re_used
    assert re_used not in datasets
    assert len(set(datasets)) == 1
    content = zstandard.ZstdDecompressor().stream_reader(re_used, read_across_frames=True).read()
    names = [json.loads(line)["pypi"]["name"] for line in content.splitlines()]
    assert names == [name for name in NAMES if name != FAILED]


@pytest.fixture
def made(make_scan: Callable[..., Any]) -> Any:
    """Results, not written yet, of a shard of five packages in a block each, of which b and d are known."""
    scan = make_scan(dict.fromkeys("abcde"))
    first = scan.results("0001", downloads=5)
    for name in "ace":
        first.fail(name, "timeout")
    first.accept()
    with open_store(scan.directory.parent) as store:
        divide_scan(scan.directory, SCANNER, records=store)
    made = scan.results("0001", downloads=7)
    assert [entry["name"] for entry in made.known] == ["b", "d"]
    return made


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "corrupt", "reason": "damaged"}, "corrupt"),  # a part of what a better copy would give
        ({}, "ok"),
    ],
)
def test_what_is_not_whole_or_not_separable_is_not_kept(
    make_scan: Callable[..., Any], change: dict[str, Any], status: str
) -> None:
    scan = make_scan(dict.fromkeys("ab"))
    first = scan.results("0001", downloads=5)
    first.statuses[0] |= change
    if not change:
        first.records[0]["tags"] = ["of_no_detection"]
    assert status in first.accept().by_status
    with open_store(scan.directory.parent) as store:
        assert divide_scan(scan.directory, SCANNER, records=store).known == 1


def records(made: Any, read_zst: Callable[[Path], list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {record["pypi"]["name"]: record for record in read_zst(made.directory / "records.jsonl.zst")}


def test_a_record_that_was_kept_says_what_is_new_of_its_package(made: Any, read_zst: Any) -> None:
    assert made.accept().by_status == {"ok": 3, "reused": 2}
    of = records(made, read_zst)
    assert list(of) == list("abcde")
    assert of["b"].keys() == of["a"].keys()
    assert of["b"]["tags"] == of["a"]["tags"] == ["file_access", "package_info", "taint_sink"]
    downloads = [one["extra"]["score"]["downloads"] for one in of["b"]["detections"] if "score" in one["extra"]]
    assert downloads == [7]


def test_a_status_tells_what_the_scan_took_that_made_the_record(made: Any) -> None:
    made.accept()
    old, new = (status for status in read_statuses(made.directory) if status.name in "bc")
    assert old == msgspec.structs.replace(new, name="b", status="reused", files=old.files)
    assert old.seconds == 1.5
    assert old.files[0].path.endswith("/b-1.0.tar.gz")


def test_a_package_that_could_not_be_described_is_scanned_the_next_time(made: Any, read_zst: Any) -> None:
    made.known[0] |= {"detections": None, "reason": "it took too long"}
    assert made.accept().by_status == {"ok": 3, "reused": 1, "crash": 1}
    assert list(records(made, read_zst)) == list("acde")
    (status,) = (status for status in read_statuses(made.directory) if status.name == "b")
    assert (status.record, status.reason) == (False, "it took too long")
    with open_store(made.directory.parents[2]) as store:
        assert divide_scan(made.directory.parents[1], SCANNER, records=store).known == 4


def test_a_lie_about_a_known_package_does_not_take_its_record_from_the_next_worker(made: Any) -> None:
    told = made.known[0]["detections"]
    made.known[0] |= {"detections": None, "reason": "it took too long"}
    made.joblog_header = "Seq"
    with pytest.raises(ResultsError, match="does not start with GNU parallel's header"):
        made.accept()
    shutil.rmtree(made.directory)
    made.joblog_header = JOBLOG_HEADER
    made.known[0] = {"detections": told, "name": made.known[0]["name"]}
    assert made.accept().by_status == {"ok": 3, "reused": 2}


def test_a_kept_record_that_is_rejected_now_is_scanned_the_next_time(made: Any) -> None:
    made.known[0]["detections"][0] |= {"tags": ["secrets_leak"], "line": "'hunter2'"}
    assert made.accept().by_status == {"ok": 3, "reused": 1, "rejected": 1}
    assert json.loads((made.directory / "rejected.jsonl").read_text())["name"] == "b"
    with open_store(made.directory.parents[2]) as store:
        assert divide_scan(made.directory.parents[1], SCANNER, records=store).known == 4


def test_a_record_that_is_no_longer_kept_fails_the_shard(made: Any) -> None:
    with sqlite3.connect(made.directory.parents[2] / "records.sqlite") as database:
        database.execute("UPDATE records SET content = x'00'")
    database.close()
    with pytest.raises(ResultsError, match=r"the record of 'b' was kept .* and is no more; clear the task divide"):
        made.accept()


def test_another_scanner_than_the_scan_was_divided_for(made: Any) -> None:
    made.scanner["settings"] |= {"timeout": 60.0}
    with pytest.raises(ResultsError, match=r"not the scanner .* divided for: timeout is 900.0 and 60.0; clear"):
        made.accept()


def of_b(**changes: object) -> Callable[[Any], object]:
    return lambda made: made.known[0].update(changes)


def detection_of_b(**changes: object) -> Callable[[Any], object]:
    return lambda made: made.known[0]["detections"][0].update(changes)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lambda made: made.known.pop(0), "known.jsonl: 'd' in place of 'b'"),
        (lambda made: made.known.pop(), "known.jsonl: no whole line about 'd'"),
        (lambda made: made.known.reverse(), "known.jsonl: 'd' in place of 'b'"),
        (lambda made: made.known.insert(0, made.known[0]), "known.jsonl: 'b' in place of 'd'"),
        (lambda made: made.known.append(made.known[1]), "known.jsonl: more lines than known packages"),
        (of_b(name="c"), "known.jsonl: 'c' in place of 'b'"),
        (of_b(extra=1), "known.jsonl: not what is asked: Object contains unknown field"),
        (of_b(**{"\n\x1b[2J": 1}), r"known.jsonl: not what is asked: Object contains unknown field `\n\x1b[2J`"),
        (of_b(detections="none"), "known.jsonl: not what is asked: Expected `array | null`"),
        (of_b(detections=None), "known.jsonl: 'b' has either detections or a reason"),
        (of_b(reason="because"), "known.jsonl: 'b' has either detections or a reason"),
        (of_b(detections=None, reason="x" * 500), "known.jsonl: not what is asked: Expected `str` of length <= 400"),
        (detection_of_b(type="FunctionCall"), "known.jsonl: not what is asked: Invalid enum value 'FunctionCall'"),
        (detection_of_b(score="high"), "known.jsonl: not what is asked: Expected `int`, got `str`"),
        (detection_of_b(score=0.5), "known.jsonl: not what is asked: Expected `int`, got `float`"),
        (lambda made: made.statuses[0].update(status="reused"), "status.jsonl: 'a' has a status that no worker gives"),
        (
            lambda made: made.statuses.insert(1, made.statuses[0] | {"name": "b", "files": []}),
            "status.jsonl: 'b' comes twice or out of order",
        ),
        (lambda made: made.records.insert(1, scanned_b(made)), "records.jsonl.zst: 'b' comes twice or out of order"),
        (
            lambda made: made.joblog.append(made.joblog[0][:-1] + "b"),
            "joblog.txt: a row of a package that comes twice, or",
        ),
    ],
)
def test_a_lie_is_named(made: Any, lie: Callable[[Any], object], message: str) -> None:
    lie(made)
    with pytest.raises(ResultsError) as refused:
        made.accept()
    assert message in str(refused.value)
    assert len(str(refused.value)) < 500


def scanned_b(made: Any) -> dict[str, Any]:
    """A record of b, which the worker was not to scan."""
    return made.records[0] | {"name": "mirror://b", "pypi": made.records[0]["pypi"] | {"name": "b", "files": []}}


def test_a_shard_without_known_packages_needs_no_description(make_scan: Callable[..., Any]) -> None:
    made = make_scan(dict.fromkeys("ab")).results("0001")
    made.known.append({"name": "a", "detections": []})
    with pytest.raises(ResultsError, match=r"known.jsonl: more lines than known packages"):
        made.accept()


def test_an_over_long_line_is_refused(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made.known[0]["detections"][0]["message"] = "x" * 5000
    monkeypatch.setattr("pypi_scan.known._MAX_LINE_BYTES", 5000)
    with pytest.raises(ResultsError, match=r"known.jsonl: no whole line about 'b'"):
        made.accept()


def test_a_frame_with_records_of_several_blocks_is_refused(made: Any) -> None:
    made.write()
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in made.records)
    made.write_records(lines)
    with pytest.raises(ResultsError, match=r"records.jsonl.zst: a frame with records of several blocks, 'a', 'c', 'e'"):
        made.accept_written()
