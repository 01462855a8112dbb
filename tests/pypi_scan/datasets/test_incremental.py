"""Runs after the first: only changes are read, made and uploaded, and what comes out is what a first run makes."""

import gzip
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pypi_scan import datasets
from pypi_scan.datasets import made
from pypi_scan.datasets.layout import public_directory
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.publish import Cdn, PublishError, PublishSummary, publish_directory

from .steps import build_all

NAMES = [f"package-{letter}" for letter in "abcdefgh"]
REQUIREMENTS = [*NAMES, "Package.A", "not a requirement", "six>=1; extra == 'x'"]
Requires = list[str] | None


class World:
    """A mirror that changes as bandersnatch changes it, long enough ago for it to be settled."""

    def __init__(self, tmp_path: Path) -> None:
        self.mirror = Mirror(tmp_path / "mirror")
        self.json = self.mirror.web / "json"
        self.json.mkdir(parents=True)
        self.directory = tmp_path / "state" / "datasets"
        self.gone: set[str] = set()
        self.stats = tmp_path / "stats.jsonl"
        self.stats.write_text('{"package_name": "package-a", "downloads": 7}\n')
        self.clock = count(1_700_000_000)

    def put(self, name: str, requires: Requires = None, *, content: bytes | None = None) -> None:
        """Write a document, beside and renamed."""
        info = {"name": name, "requires_dist": requires}
        document = json.dumps({"info": info, "releases": {}}).encode()
        temporary = self.json / f".{name}.new"
        temporary.write_bytes(document if content is None else content)
        self.tick(temporary)
        temporary.replace(self.json / name)
        self.tick(self.json)

    def remove(self, name: str) -> None:
        """Remove a document."""
        (self.json / name).unlink(missing_ok=True)
        self.tick(self.json)

    def tick(self, path: Path) -> None:
        """Let a path have changed at a new time."""
        now = next(self.clock)
        os.utime(path, (now, now))

    def build(self) -> dict[str, Any]:
        """Run all steps."""
        return build_all(self.mirror, self.directory, self.stats, self.gone)

    def made(self) -> dict[str, bytes]:
        """What is to be published, and what the mirror serves."""
        public = datasets.public_directory(self.directory).glob("[!.]*")
        return {path.name: path.read_bytes() for path in [*public, self.mirror.web / "pypi_package_list.txt"]}

    def made_from_scratch(self, elsewhere: Path) -> dict[str, bytes]:
        """What a first run makes of the same documents."""
        fresh = World(elsewhere)
        fresh.json.rmdir()
        fresh.json.symlink_to(self.json)
        fresh.gone, fresh.stats = self.gone, self.stats
        fresh.build()
        return fresh.made()

    def packages(self) -> list[str]:
        """The published list."""
        return gzip.decompress((self.directory / "public/pypi_package_list.gz").read_bytes()).decode().split()


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.put("package-a", ["package-b"])
    world.put("package-b")
    world.put("package-c", content=b"{ not JSON")
    return world


def stamps(world: World) -> dict[str, int]:
    public = datasets.public_directory(world.directory)
    return {path.name: path.stat().st_ino for path in [*public.iterdir(), world.directory / "extract.tsv"]}


class Crash(BaseException):
    pass


@contextmanager
def crash(monkeypatch: pytest.MonkeyPatch, write: int, after: bool) -> Iterator[None]:
    """Crash at the nth file written, before or after it took its name."""
    writes = count()
    replace = Path.replace

    def crashing(self: Path, target: Path) -> Path:
        now = next(writes) == write
        if now and not after:
            raise Crash
        replaced = replace(self, target)
        if now:
            raise Crash
        return replaced

    with monkeypatch.context() as patch, suppress(Crash):
        patch.setattr(Path, "replace", crashing)
        yield


def change(world: World, draw: random.Random) -> None:
    """One thing that happens to a mirror."""
    name = draw.choice(NAMES)
    requires = draw.sample(REQUIREMENTS, draw.randrange(4))
    happens: list[Callable[[], object]] = [
        lambda: world.put(name, requires),
        lambda: world.put(name, requires),
        lambda: world.put(name, content=draw.choice([b"{", b"", b"[]"])),
        lambda: world.remove(name),
        lambda: world.gone.symmetric_difference_update({name}),
        lambda: world.stats.write_text(f'{{"package_name": "x", "downloads": {draw.randrange(1, 4)}}}\n'),
    ]
    draw.choice(happens)()


@pytest.mark.parametrize("seed", range(12))
def test_after_any_changes_and_crashes_all_is_as_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw = random.Random(seed)
    world = World(tmp_path / "world")
    world.put("always-there", ["package-a"])
    for step in range(12):
        for _ in range(draw.randrange(4)):
            change(world, draw)
        if draw.random() < 0.5:
            with crash(monkeypatch, draw.randrange(14), after=draw.random() < 0.5):
                world.build()
        if draw.random() < 0.3:
            change(world, draw)
        world.build()
        assert world.made() == world.made_from_scratch(tmp_path / f"fresh-{step}"), step


def test_a_run_without_changes_reads_and_writes_nothing_and_says_the_same(world: World) -> None:
    first = world.build()
    before = stamps(world)
    second = world.build()
    assert second.pop("extract") == {**first.pop("extract"), "read": 0}
    assert second == first
    assert stamps(world) == before


def test_only_changed_documents_are_read(world: World) -> None:
    world.build()
    world.put("package-b", ["six"])
    world.put("package-d")
    world.remove("package-c")
    assert world.build()["extract"] == {"packages": 3, "unreadable": 0, "gone": 0, "read": 2}


def test_a_dataset_whose_input_did_not_change_is_not_written(world: World) -> None:
    world.build()
    before = stamps(world)
    world.put("package-a", ["Package_B>=2"])  # a release that needs the same
    assert world.build()["extract"]["read"] == 1
    changed = {name for name, inode in stamps(world).items() if inode != before[name]}
    assert changed == {"extract.tsv"}
    before = stamps(world)
    world.put("package-a", ["package-b", "six"])
    world.build()
    changed = {name for name, inode in stamps(world).items() if inode != before[name]}
    assert changed == {
        "extract.tsv",
        "dependency_list.gz",
        "reverse_dependencies.gz",
        "aura_dataset.tgz",
        "md5_checksums.txt",
    }


def test_a_document_that_may_still_change_is_read_again(world: World) -> None:
    world.put("package-d")
    os.utime(world.json / "package-d")  # now: a change in the same tick of the clock would leave no trace
    assert [world.build()["extract"]["read"] for _ in range(2)] == [4, 1]


def test_a_document_that_could_not_be_opened_is_tried_again(world: World) -> None:
    (world.json / "package-b").unlink()
    (world.json / "package-b").mkdir()
    world.tick(world.json / "package-b")
    world.tick(world.json)
    assert [world.build()["extract"]["read"] for _ in range(2)] == [3, 1]


def test_a_project_that_is_gone_upstream_leaves_the_datasets_until_it_is_back_and_its_document_stays(
    world: World,
) -> None:
    before = world.build()
    made_before = world.made()
    world.gone = {"package-a"}
    assert world.build()["extract"] == {"packages": 2, "unreadable": 1, "gone": 1, "read": 0}
    assert world.packages() == ["package-b", "package-c"]
    lines = gzip.decompress((world.directory / "public/dependency_list.gz").read_bytes()).splitlines()
    assert [json.loads(line)["package_name"] for line in lines] == ["package-b"]
    assert json.loads(gzip.decompress((world.directory / "public/reverse_dependencies.gz").read_bytes())) == {}
    assert (world.json / "package-a").exists()
    world.gone = set()
    assert world.build() == {**before, "extract": {**before["extract"], "read": 0}}
    assert world.made() == made_before


def test_if_all_projects_are_gone_the_datasets_stay(world: World) -> None:
    world.build()
    made_before = world.made()
    world.gone = {"package-a", "package-b", "package-c"}
    with pytest.raises(MirrorError, match="none of the 3 JSON documents"):
        world.build()
    assert world.made() == made_before


def test_what_is_no_project_name_is_passed_over(world: World) -> None:
    for name in ("Package-D", ".package-d.new", "package_d", "a\tb"):
        world.put(name)
    assert world.build()["extract"]["packages"] == 3


def test_what_other_code_made_is_made_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.build()
    before = stamps(world)
    for module in (made, datasets.extract):  # type: ignore[attr-defined]
        monkeypatch.setattr(module, "recipe", lambda: "another")
    assert world.build()["extract"]["read"] == 3
    assert {name for name, inode in stamps(world).items() if inode == before[name]} == {"md5_checksums.txt"}


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"not JSON\n"])
def test_a_damaged_extract_or_record_is_made_anew(world: World, damage: bytes) -> None:
    world.build()
    made_before = world.made()
    for path in [world.directory / "extract.tsv", *(world.directory / "made").iterdir()]:
        path.write_bytes(damage)
    assert world.build()["extract"]["read"] == 3
    assert world.made() == made_before


def test_a_file_that_somebody_else_removed_or_wrote_is_made_again(world: World) -> None:
    world.build()
    expected = world.made()
    (world.directory / "public/dependency_list.gz").unlink()
    (world.mirror.web / "pypi_package_list.txt").write_text("old")
    world.build()
    assert world.made() == expected


def public_names(cdn: Cdn) -> dict[str, str]:
    listed = cdn.client.list_objects_v2(Bucket=cdn.bucket, Prefix="aura/").get("Contents", [])
    return {entry["Key"]: entry["ETag"] for entry in listed}


def publish_datasets(cdn: Cdn, directory: Path) -> PublishSummary:
    """As the task publish does it."""
    public = public_directory(directory)
    return publish_directory(cdn, public, "aura", last=("md5_checksums.txt",), immutable=False)


def test_only_what_differs_is_uploaded_checksums_last(world: World, cdn: Cdn) -> None:
    world.build()
    first = publish_datasets(cdn, world.directory)
    assert first["unchanged"] == []
    assert first["uploaded"][-1] == "md5_checksums.txt"
    assert len(first["uploaded"]) == len(public_names(cdn)) == 8
    nothing = publish_datasets(cdn, world.directory)
    assert (nothing["uploaded"], sorted(nothing["unchanged"])) == ([], sorted(first["uploaded"]))
    world.stats.write_text('{"package_name": "six", "downloads": 1}\n')
    world.build()
    second = publish_datasets(cdn, world.directory)
    assert second["uploaded"] == [
        "aura_dataset.tgz", "pypi_download_stats.gz", "pypi_download_stats.json", "md5_checksums.txt",
    ]  # fmt: skip


def test_an_upload_that_failed_is_done_again_even_if_the_change_was_taken_back(
    world: World, cdn: Cdn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.build()
    publish_datasets(cdn, world.directory)
    stats = world.stats.read_text()
    world.stats.write_text('{"package_name": "six", "downloads": 1}\n')
    world.build()
    upload = cdn.client.upload_file

    def failing(path: str, bucket: str, key: str, **options: Any) -> None:
        if key.endswith("md5_checksums.txt"):
            raise OSError("cut off")
        upload(path, bucket, key, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cdn.client, "upload_file", failing)
        with pytest.raises(PublishError, match="cut off"):
            publish_datasets(cdn, world.directory)
    world.stats.write_text(stats)
    world.build()
    publish_datasets(cdn, world.directory)
    for key in public_names(cdn):
        body = cdn.client.get_object(Bucket=cdn.bucket, Key=key)["Body"].read()
        (tmp_path / Path(key).name).write_bytes(body)
    subprocess.run(["md5sum", "-c", "--strict", "--quiet", "md5_checksums.txt"], cwd=tmp_path, check=True)
