"""First syncs that are too large for one list, by the real bandersnatch from the demo's upstream server."""

import hashlib
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from demo.static_server import Response
from demo.upstream import UpstreamServer
from demo.upstream.recipes import Distribution, Release
from demo.upstream.tree import FIRST_SERIAL, Tree, new_document
from pypi_scan import batches, sync_work
from pypi_scan.bandersnatch_log import Kind
from pypi_scan.batches import Batches
from pypi_scan.mirror import Mirror
from pypi_scan.settings import Settings
from pypi_scan.sync import sync_mirror
from pypi_scan.sync_errors import SyncError
from pypi_scan.sync_report import SyncReport, read_report
from pypi_scan.todo_list import Todo, read_todo

UPLOADED = datetime(2026, 11, 1, tzinfo=UTC)


class Upstream(UpstreamServer):
    """An upstream of generated packages, and the mirror that is to be made of it.

    It keeps the names whose documents were asked for, and the sizes that bandersnatch's list had then; `on_document`
    hears of each name.
    """

    on_document: Callable[[str], None] = staticmethod(lambda name: None)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "upstream")
        self.tree = Tree(directory / "upstream" / "web")
        self.mirror = Mirror(directory / "mirror")
        self.todo = directory / "mirror" / "todo"
        self.state = directory / "state"
        self.asked: list[str] = []
        self.todo_bytes: list[int] = []

    def answer(self, path: str) -> Response:
        if path.startswith("/pypi/"):
            name = path.split("/")[2]
            self.asked.append(name)
            self.todo_bytes.append(self.todo.stat().st_size if self.todo.exists() else 0)
            self.on_document(name)
        return super().answer(path)

    def publish(self, name: str) -> int:
        """Publish a package, or another release of it, with one tiny file; return its serial."""
        serials, serial = self.tree.serials(), self.tree.last_serial() + 1
        self.tree.write_index(serials | {name: self._publish(name, serial)}, serial)
        return serial

    def generate(self, packages: int) -> list[str]:
        """Publish packages by number; return their canonical names."""
        numbers = range(FIRST_SERIAL, FIRST_SERIAL + packages)
        serials = {
            f"Pkg.{number:05}": self._publish(f"Pkg.{number:05}", serial) for number, serial in enumerate(numbers)
        }
        self.tree.write_index(serials, numbers[-1])
        return [f"pkg-{number:05}" for number in range(packages)]

    def _publish(self, name: str, serial: int) -> int:
        document = new_document(name, serial)
        version = str(serial)
        file = Distribution(f"{name}-{version}.tar.gz", f"{name} {version}".encode(), "sdist", "source", None)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        self.tree.add_release(document, Release(version, UPLOADED, metadata, (file,)))
        self.tree.write_document(name, document)
        return serial

    def sync(self) -> int:
        """Sync and return the serial that was reached, if the result tells all packages of the mirror as changed."""
        unused = {"mirror_source": "unused", "cdn_bucket": "unused", "cdn_public_url": "unused"}
        settings = Settings(
            mirror_root=self.mirror.root,
            state_dir=self.state,
            scans_dir=self.state.parent / "scans",
            upstream_url=self.url,
            **unused,
        )
        result = sync_mirror(settings)
        assert result.changed_list.read_text().splitlines() == self.mirror.package_names()
        assert result.serial == self.mirror.serial()
        return result.serial

    def report(self) -> SyncReport:
        return read_report(self.state / "sync-report.json")

    def mirrored_files(self) -> int:
        """Return how many release files the mirror has; an interrupted or refused download leaves a dot file too."""
        return len(list((self.mirror.web / "packages").rglob("[!.]*.tar.gz")))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path) as server:
        yield server


def batches_of(packages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_PACKAGES", packages)


def kill_at(upstream: Upstream, killed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill bandersnatch with SIGKILL when it first asks for the document of this package."""
    runs: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def noting_popen(*args: object, **options: object) -> subprocess.Popen[str]:
        runs.append(popen(*args, **options))
        return runs[-1]

    def kill(name: str) -> None:
        if name == killed:
            monkeypatch.undo()
            os.kill(runs[-1].pid, signal.SIGKILL)

    monkeypatch.setattr(subprocess, "Popen", noting_popen)
    monkeypatch.setattr(upstream, "on_document", kill)


@pytest.mark.parametrize("batch", [50, pytest.param(500, marks=pytest.mark.world)], ids=["500", "5000 packages"])
def test_a_first_sync_is_linear_and_survives_kill_9(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    batches_of(batch, monkeypatch)
    with Upstream(tmp_path / "small") as small:
        small.generate(batch)
        small.sync()

    names = upstream.generate(10 * batch)
    killed = int(4.5 * batch)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(upstream, names[killed], patch)
        with pytest.raises(SyncError, match="exit code -9"):
            upstream.sync()
    assert upstream.mirror.serial() == 0
    assert killed < len(upstream.asked) <= killed + 3  # the three workers have one in hand each
    last = upstream.publish("Late.Comer")  # not in the lists, which were made before

    assert upstream.sync() == last
    assert upstream.mirror.package_names() == ["late-comer", *names]
    assert upstream.mirrored_files() == 10 * batch + 1
    assert len(upstream.asked) <= 10 * batch + 1 + 3  # again only what was in hand
    assert sum(upstream.todo_bytes) < 1.5 * 10 * sum(small.todo_bytes)  # all packages in one list: about 100 times
    assert {path.name for path in upstream.mirror.root.iterdir() if path.is_dir()} == {"web"}
    assert not upstream.todo.exists()


def test_the_mirror_is_the_same_as_by_a_sync_at_once(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(mirror: Mirror, url: str) -> dict[str, str]:
        files = [mirror.root / "status", *(path for path in mirror.web.rglob("*") if path.is_file())]
        return {
            str(path.relative_to(mirror.root)): hashlib.sha256(path.read_bytes().replace(url.encode(), b"")).hexdigest()
            for path in files
            if path.name != "last-modified"
        }

    upstream.generate(25)
    upstream.sync()
    batches_of(10, monkeypatch)
    with Upstream(tmp_path / "batches") as other:
        other.generate(25)
        other.sync()
        assert content(other.mirror, other.url) == content(upstream.mirror, upstream.url)


def test_what_fails_holds_up_nothing_is_told_and_is_tried_again(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_of(10, monkeypatch)
    monkeypatch.setattr(sync_work, "RETRY_SECONDS", ())
    names = upstream.generate(35)
    upstream.faults["/pypi/pkg-00003/json"] = HTTPStatus.SERVICE_UNAVAILABLE
    upstream.faults["/pypi/pkg-00005/json"] = HTTPStatus.NOT_FOUND
    upstream.faults["/pypi/pkg-00025/json"] = HTTPStatus.NOT_FOUND
    tampered = upstream.tree.read_document("pkg-00017")["urls"][0]["url"].partition("packages/")[2]
    good = (upstream.tree.root / "packages" / tampered).read_bytes()
    (upstream.tree.root / "packages" / tampered).write_bytes(b"tampered with")

    assert upstream.sync() == upstream.tree.last_serial()
    assert upstream.mirrored_files() == 31
    failed = [f"pkg-000{number}" for number in ("03", "05", "17", "25")]
    assert sorted(upstream.report().put_aside) == failed

    upstream.faults.clear()
    (upstream.tree.root / "packages" / tampered).write_bytes(good)
    upstream.asked.clear()
    assert upstream.sync() == upstream.tree.last_serial()
    assert sorted(upstream.asked) == failed
    assert upstream.mirror.package_names() == names
    assert upstream.report() == SyncReport()


def test_an_upstream_in_trouble_is_not_asked_for_everything(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_of(10, monkeypatch)
    names = upstream.generate(35)
    upstream.faults.update({f"/pypi/{name}/json": HTTPStatus.BAD_GATEWAY for name in names[10:]})
    with pytest.raises(SyncError, match=r"in trouble: 10 of 10 packages failed, .*pkg-0001\d, with .*502"):
        upstream.sync()
    assert sorted(upstream.asked) == names[:20]
    assert upstream.mirror.serial() == 0
    upstream.faults.clear()
    assert upstream.sync() == upstream.tree.last_serial()
    assert sorted(upstream.asked[20:]) == names[10:]


def test_a_file_on_a_host_that_is_not_reached_holds_up_nothing(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_work, "RETRY_SECONDS", ())
    name, other = upstream.generate(2)
    document = upstream.tree.read_document(name)
    document["urls"][0]["url"] = document["releases"]["30000001"][0]["url"] = "http://127.0.0.1:1/packages/a/b.tar.gz"
    upstream.tree.write_document(name, document)
    assert upstream.sync() == upstream.tree.last_serial()
    assert {name: each.kind for name, each in upstream.report().put_aside.items()} == {name: Kind.UNREACHABLE}
    assert (upstream.mirror.web / "simple" / other).exists()


def test_an_upstream_that_is_down_at_the_start_leaves_nothing_begun(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_of(10, monkeypatch)
    upstream.generate(11)
    upstream.faults["/simple"] = HTTPStatus.BAD_GATEWAY
    with pytest.raises(SyncError, match=r"upstream could not be asked .*502"):
        upstream.sync()
    upstream.faults.clear()
    assert upstream.sync() == upstream.tree.last_serial()


def test_a_name_that_is_a_path_or_would_be_a_line_of_a_list_is_refused(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_of(10, monkeypatch)
    names = upstream.generate(11)
    serial = upstream.tree.last_serial()
    hostile = {"../../outside": serial, "a 1\nb": serial, "a b": serial}
    upstream.tree.write_index(upstream.tree.serials() | hostile, serial)
    assert upstream.sync() == serial
    assert upstream.mirror.package_names() == names
    assert len(upstream.report().refused) == 3


class PowerCutError(Exception):
    """The control host dies."""


@pytest.mark.parametrize("turn", [1, 2, 3], ids=["first batch", "second batch", "end"])
def test_a_host_that_dies_between_two_lists_loses_and_repeats_nothing(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    batches_of(10, monkeypatch)
    names = upstream.generate(15)
    rename, turns = Path.replace, itertools.count(1)

    def dying(path: Path, target: Path) -> Path:
        renamed = rename(path, target)
        if target == upstream.todo and next(turns) == turn:
            raise PowerCutError
        return renamed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(PowerCutError):
            upstream.sync()
    assert upstream.mirror.serial() == 0
    assert upstream.sync() == upstream.tree.last_serial()
    assert sorted(upstream.asked) == names


def test_lists_that_were_not_finished_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches_of(2, monkeypatch)
    large = Batches(tmp_path)
    large.begin(0, Todo(9, {"c": 3, "A": 1, "b": 9}))
    (tmp_path / "batches" / "end").unlink()
    assert not large.begun()
    large.begin(5, Todo(7, {"d": 7}))
    assert large.begun()
    assert [read_todo(tmp_path / "todo") for _ in large.turns()] == [Todo(5, {"d": 7}), Todo(7)]
    assert not large.begun()
