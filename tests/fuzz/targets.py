"""What is fuzzed: everything that reads what upstream, a worker or a published scan says.

A target takes any bytes. It either gives what is valid, or raises its one documented error, whose message can go into a
log: short, and of one line. It writes nowhere but into a directory of its own.
"""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from pypi_scan.accept import accept_results, read_frame_list
from pypi_scan.choose import choose
from pypi_scan.manifest import MANIFEST, ManifestError, parse_manifest
from pypi_scan.names import HostileInputError, check_mirror_path, check_sha256, is_canonical, mirror_path
from pypi_scan.read_package import Dataset, ReadError
from pypi_scan.record_store import RecordStore
from pypi_scan.results import KNOWN, RECORDS, RESULT_FILES, STATUSES, ResultsError, read_joblog
from pypi_scan.shard import PlannedRelease, read_shard
from pypi_scan.status import PackageStatus

from .world import SCRIPTS, World, lines_of

_MAX_MESSAGE = 1500  # characters
_NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Target(NamedTuple):
    """Something that takes input from outside, and real input for it."""

    name: str
    seeds: list[bytes]
    run: Callable[[bytes], None]


def make_targets(world: World, directory: Path) -> list[Target]:
    """Return all targets; each writes into a directory of its own below `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    results = _Results(world, directory / "results")
    dataset = _Dataset(world, directory / "dataset")
    records = b"".join(lines_of(world.results / RECORDS))
    documents = [path.read_bytes() for path in sorted((world.mirror.web / "json").iterdir())]
    return [
        Target("records", [records], lambda data: results.take(RECORDS, _frames(data))),
        *(Target(name, [(world.results / name).read_bytes()], results.taker(name)) for name in RESULT_FILES),
        Target("shard", [b"".join(lines_of(world.shard))], _Shard(directory / "shard").take),
        Target("document", documents, _Document(world, directory / "mirror").take),
        Target("url", [b"https://files.example/packages/ab/cd/ef/demo%2Dunits-1.0.tar.gz"], _take_url),
        Target("manifest", [(world.dataset / MANIFEST).read_bytes()], _take_manifest),
        *(Target(name, [(world.dataset / name).read_bytes()], dataset.taker(name)) for name in dataset.names),
    ]


@contextmanager
def _documented(error: type[Exception]) -> Iterator[None]:
    try:
        yield
    except error as raised:
        message = str(raised)
        assert message.isprintable(), f"{message!r} would be written into a log"
        assert len(message) <= _MAX_MESSAGE, f"a message of {len(message)} characters"


def _frames(data: bytes) -> bytes:
    """Return lines as the records of packages that are each a block."""
    return b"".join(map(zstandard.ZstdCompressor(level=1).compress, data.splitlines(keepends=True)))


class _Results:
    """A shard's results, of which one file is another one."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self._packages = {package.name: package for package in read_shard(world.shard)}

    def taker(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self.take(name, data)

    def take(self, name: str, data: bytes) -> None:
        directory, store = self._directory / "0001", self._directory / "records.sqlite"
        shutil.rmtree(self._directory, ignore_errors=True)
        directory.mkdir(parents=True)
        shutil.copyfile(self._world.kept, store)
        for other in {*RESULT_FILES} - {name}:
            shutil.copyfile(self._world.results / other, directory / other)
        (directory / name).write_bytes(data)
        with _documented(ResultsError), RecordStore(store, _NOW) as kept:
            summary = accept_results(self._world.shard, directory, self._world.scanner, kept)
            self._check(directory, summary.records)
        written = {path.name.partition("-")[0] for path in self._directory.iterdir()}
        assert written == {"0001", "records.sqlite"}
        assert not any(path.is_symlink() or path.is_dir() for path in directory.iterdir())

    def _check(self, directory: Path, records: int) -> None:
        """What was accepted is of the shard, and whoever reads it finds what the statuses say."""
        statuses = msgspec.json.Decoder(PackageStatus).decode_lines((directory / STATUSES).read_bytes())
        assert [status.name for status in statuses] == sorted(self._packages)
        told = [status for status in statuses if status.record]
        found = [msgspec.json.decode(line) for line in lines_of(directory / RECORDS)]
        assert [record["pypi"]["name"] for record in found] == [status.name for status in told]
        assert [len(record["detections"]) for record in found] == [status.detections for status in told]
        assert [record["score"] for record in found] == [status.score for status in told]
        assert [name for frame in read_frame_list(directory) for name in frame.names] == [one.name for one in told]
        assert len(told) == records
        assert all(row.isprintable() for row in (line.replace("\t", "") for line in read_joblog(directory)))
        assert (directory / KNOWN).is_file()


class _Shard:
    """The shard file as the programs on a worker read it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._file = directory / "0001.jsonl.zst"
        sys.path.append(str(SCRIPTS))
        try:
            self._shard, self._program = map(importlib.import_module, ("shard", "program"))
        finally:
            sys.path.remove(str(SCRIPTS))

    def take(self, data: bytes) -> None:
        self._file.write_bytes(zstandard.compress(data))
        with _documented(self._program.ProgramError):
            for package in self._shard.read_shard(self._file).packages:
                if package.refused is None:
                    assert is_canonical(package.name)
                for file in package.files:
                    assert check_mirror_path(file.path) == file.path
                    assert check_sha256(file.sha256) == file.sha256
                    assert file.size >= 0


class _Document:
    """The JSON document of a package in a mirror that has no other."""

    def __init__(self, world: World, root: Path) -> None:
        self._name = "demo-units"
        self._mirror = type(world.mirror)(root)
        (self._mirror.web / "json").mkdir(parents=True, exist_ok=True)

    def take(self, data: bytes) -> None:
        """Choosing raises nothing: a document that cannot be used costs its package alone."""
        self._mirror.json_path(self._name).write_bytes(data)
        chosen = choose(self._mirror, [self._name], _NOW)
        for line in chosen.unscannable:
            status = msgspec.json.decode(line, type=PackageStatus)
            assert status.name == self._name
            assert status.reason
            assert status.reason.isprintable()
        for line in chosen.releases:
            release = msgspec.json.decode(line, type=PlannedRelease)
            assert release.name == self._name
            assert release.version.isprintable()
            assert len({file.path for file in release.files}) == len(release.files) > 0
            for file in release.files:
                assert check_mirror_path(file.path) == file.path
                assert check_sha256(file.sha256) == file.sha256
                assert 0 <= file.size < 2**40
                datetime.fromisoformat(file.upload_time)
            trimmed = msgspec.json.decode(release.json)
            assert trimmed["info"]["version"] == release.version
            assert list(trimmed["releases"]) == [release.version]


def _take_url(data: bytes) -> None:
    with _documented(HostileInputError):
        path = mirror_path(data.decode("utf-8", "surrogateescape"))
        assert Path("/web", path).resolve().is_relative_to("/web/packages")
        assert path.isprintable() or not path.isascii()


def _take_manifest(data: bytes) -> None:
    with _documented(ManifestError):
        for file in parse_manifest(data).files:
            assert Path(file.name).name == file.name


class _Dataset:
    """A published scan of which one file is another one."""

    names = ("dataset.index.json", "dataset.zst")

    def __init__(self, world: World, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self._content = {name: (world.dataset / name).read_bytes() for name in self.names}

    def taker(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self._take(name, data)

    def _take(self, name: str, data: bytes) -> None:
        for other, content in {**self._content, name: data}.items():
            (self._directory / other).write_bytes(content)
        with _documented(ReadError):
            assert Dataset(str(self._directory)).record("demo-greeting")["pypi"]["name"] == "demo-greeting"
