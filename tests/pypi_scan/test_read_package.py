"""One package's record: from a directory, and by one range request from a server."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from demo.object_store import ObjectStore
from pypi_scan.dataset_index import INDEX
from pypi_scan.publish import Cdn, publish_directory
from pypi_scan.read_package import Dataset, ReadError

NAMES = [f"p{number}" for number in range(9)]


@pytest.fixture
def dataset(make_scan: Callable[..., Any]) -> Path:
    """A packed dataset of three shards; p3 has no record."""
    scan = make_scan(dict.fromkeys(NAMES), shards=3)
    for shard in scan.division.shard_ids:
        made = scan.results(shard)
        if any(status["name"] == "p3" for status in made.statuses):
            made.fail("p3", "crash")
        made.accept()
    scan.pack()
    return Path(scan.directory / "dataset")


def test_each_package_from_a_directory(dataset: Path) -> None:
    reader = Dataset(str(dataset))
    for name in NAMES:
        if name != "p3":
            assert reader.record(name)["pypi"]["name"] == name
    assert reader.record("P_7".replace("_", ""))["name"] == "mirror://p7"


def test_the_frames_of_the_index_are_the_dataset(dataset: Path) -> None:
    index = json.loads((dataset / INDEX).read_bytes())
    ends = [offset + length for offset, length in index["frames"]]
    assert [offset for offset, _ in index["frames"]] == [0, *ends[:-1]]
    assert ends[-1] == index["size"] == (dataset / index["dataset"]).stat().st_size
    assert list(index["packages"]) == (dataset / "package_list.txt").read_text().split()


@pytest.mark.parametrize("name", ["p3", "unknown", "../../etc/passwd"])
def test_a_package_without_a_record(dataset: Path, name: str) -> None:
    with pytest.raises(ReadError, match=r"no record of|not a"):
        Dataset(str(dataset)).record(name)


def test_from_a_server_the_command_prints_the_record(dataset: Path, cdn: Cdn, store: ObjectStore) -> None:
    public = Cdn(cdn.client, store.bucket, store.public_url)
    publish_directory(public, dataset, "pypi_datasets/read", immutable=True)
    command = [sys.executable, "-m", "pypi_scan.read_package", f"{store.public_url}/pypi_datasets/read/"]
    done = subprocess.run([*command, "p5"], capture_output=True, text=True, check=True)
    assert '"mirror://p5"' in done.stdout
    assert done.stdout.count("\n") == 1
    failed = subprocess.run([*command, "p3"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "has no record of p3; packages.jsonl.zst there says" in failed.stderr


def change_index(directory: Path, **changes: object) -> None:
    (directory / INDEX).write_text(json.dumps(json.loads((directory / INDEX).read_bytes()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / INDEX).unlink(), "cannot be read"),
        (lambda path: (path / INDEX).write_text("[]"), "is not the index of a dataset"),
        (lambda path: (path / INDEX).write_bytes(b'{"dataset": "\xff"}'), "is not the index of a dataset"),
        (lambda path: change_index(path, dataset="../../etc/passwd"), "is the index of '../../etc/passwd', not of"),
        (lambda path: change_index(path, frames=[[0, 2**52]], packages={"p5": 0}), "is wrong: a frame of 45035996"),
        (lambda path: (path / "dataset.zst").write_bytes(b"x" * (path / "dataset.zst").stat().st_size), "damaged"),
        (lambda path: (path / "dataset.zst").write_bytes(b""), "gave 0 bytes"),
    ],
)
def test_what_is_wrong_is_said(dataset: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(dataset)
    with pytest.raises(ReadError, match=message):
        Dataset(str(dataset)).record("p5")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "maximum recursion depth"),
        (b"x" * 5000, "is damaged"),
        (b"{}\n", "required field `pypi`"),
    ],
    ids=range(3),
)
def test_a_frame_that_holds_something_else(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, message: str
) -> None:
    monkeypatch.setattr("pypi_scan.read_package.MAX_RECORD_BYTES", 10**6)
    frame = zstandard.compress(line)
    (dataset / "dataset.zst").write_bytes(frame)
    (dataset / INDEX).write_text(
        json.dumps({"dataset": "dataset.zst", "size": len(frame), "frames": [[0, len(frame)]], "packages": {"p5": 0}})
    )
    with pytest.raises(ReadError, match=message):
        Dataset(str(dataset)).record("p5")


def test_an_index_of_another_dataset_is_noticed(dataset: Path) -> None:
    index = dataset / INDEX
    index.write_text(index.read_text().replace('"p5":', '"px":').replace('"p8":', '"p5":'))
    with pytest.raises(ReadError, match="is wrong"):
        Dataset(str(dataset)).record("p5")
