"""Accepted results: what is rejected leaves, everything else stays byte for byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pypi_scan.accept import RejectedRecord, read_frame_list

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def made(make_scan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Results of a shard of four packages in two blocks, not written yet."""
    monkeypatch.setattr("pypi_scan.plan.block_size", lambda names: 2)
    return make_scan(dict.fromkeys(NAMES)).results("0001")


def frames_of(directory: Path) -> list[list[str]]:
    """The names of the packages in each frame, read where the list of frames says it is."""
    content = (directory / "records.jsonl.zst").read_bytes()
    found = []
    for frame in read_frame_list(directory):
        part = zstandard.ZstdDecompressor().decompress(content[frame.offset : frame.offset + frame.length])
        found.append([json.loads(line)["pypi"]["name"] for line in part.splitlines()])
        assert found[-1] == frame.names
    return found


def test_good_records_stay_as_the_worker_compressed_them(made: Any) -> None:
    made.fail("b", "timeout")
    made.write()
    before = {path.name: path.read_bytes() for path in made.directory.iterdir()}
    made.directory.rename(made.directory.with_name("written"))
    summary = made.accept()
    assert (summary.packages, summary.records, summary.by_status) == (4, 3, {"ok": 3, "timeout": 1})
    assert {name: (made.directory / name).read_bytes() for name in before} == before
    assert frames_of(made.directory) == [["a"], ["c", "d"]]
    assert (made.directory / "rejected.jsonl").read_bytes() == b""


def test_a_rejected_record_leaves_its_frame_and_is_told(
    made: Any, read_zst: Callable[[Path], list[dict[str, Any]]]
) -> None:
    made.records[1]["tags"] = "hunter2"
    summary = made.accept()
    assert (summary.packages, summary.records, summary.by_status) == (4, 3, {"ok": 3, "rejected": 1})
    assert frames_of(made.directory) == [["a"], ["c", "d"]]
    assert [record["pypi"]["name"] for record in read_zst(made.directory / "records.jsonl.zst")] == ["a", "c", "d"]
    (line,) = (made.directory / "rejected.jsonl").read_text().splitlines()
    reason = "Expected `array`, got `str` - at `$.tags`"
    assert json.loads(line) == {"name": "b", "version": "1.0", "reason": reason}
    statuses = [json.loads(line) for line in (made.directory / "status.jsonl").read_text().splitlines()]
    assert [status["status"] for status in statuses] == ["ok", "rejected", "ok", "ok"]
    assert statuses[1] | {"record": False, "reason": reason, "score": 0, "detections": 0} == statuses[1]
    left = b"".join(path.read_bytes() for path in made.directory.iterdir() if path.suffix != ".zst")
    assert b"hunter2" not in left
    assert RejectedRecord("b", "1.0", reason).name == "b"


def test_a_shard_without_any_record(made: Any) -> None:
    for name in NAMES:
        made.fail(name, "missing_file")
    made.joblog = []
    assert made.accept().by_status == {"missing_file": 4}
    assert frames_of(made.directory) == []
