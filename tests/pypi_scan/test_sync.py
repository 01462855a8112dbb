"""Syncs by the real bandersnatch from the demo's upstream, in good and in bad weather."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from demo.static_server import Response
from demo.upstream import UpstreamServer, publish_release, remove_project
from demo.upstream.tree import Tree
from pypi_scan import sync
from pypi_scan.gone import read_gone
from pypi_scan.mirror import Mirror
from pypi_scan.names import mirror_path
from pypi_scan.settings import Settings
from pypi_scan.sync import (
    BandersnatchLog,
    SyncError,
    SyncResult,
    SyncRunningError,
    acknowledge_changes,
    bandersnatch_config,
    sync_mirror,
)

UPLOADED = datetime(2026, 11, 1, tzinfo=UTC)


def settings_of(directory: Path, upstream_url: str | None, **others: object) -> Settings:
    required = {"mirror_source": "unused", "cdn_bucket": "unused", "cdn_public_url": "unused"}
    return Settings.model_validate(
        {
            "mirror_root": directory / "mirror",
            "state_dir": directory / "state",
            "scans_dir": directory / "scans",
            "upstream_url": upstream_url,
            **required,
            **others,
        }
    )


class Upstream(UpstreamServer):
    """The demo's upstream; `on_request` hears of every path asked for."""

    on_request: Callable[[str], None] = staticmethod(lambda path: None)

    def answer(self, path: str) -> Response:
        self.on_request(path)
        return super().answer(path)


@dataclass
class World:
    """An upstream with its tree, and the settings of a mirror of it."""

    tree: Path
    server: Upstream
    settings: Settings

    @property
    def mirror(self) -> Mirror:
        return Mirror(self.settings.mirror_root)

    def sync(self) -> SyncResult:
        """Sync and pass on what changed."""
        result = sync_mirror(self.settings)
        acknowledge_changes(self.settings, result.ended_ns)
        return result

    def publish(self, name: str, version: str = "99.0") -> int:
        return publish_release(self.tree, name, version, uploaded=UPLOADED)

    def content(self) -> dict[str, str]:
        """Digests of everything that a client of the mirror sees, and of its serial; not the time of the last look."""
        root = self.settings.mirror_root
        files = [root / "status", *(path for path in (root / "web").rglob("*") if path.is_file())]
        files.remove(root / "web" / "last-modified")
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def synced(upstream_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SyncResult]:
    """A directory with a mirror of the whole upstream and its state, and the result of that first sync."""
    directory = tmp_path_factory.mktemp("synced")
    with UpstreamServer(upstream_tree) as server:
        settings = settings_of(directory, server.url)
        result = sync_mirror(settings)
    acknowledge_changes(settings, result.ended_ns)
    return directory, result


@pytest.fixture
def empty_world(upstream_tree: Path, tmp_path: Path) -> Iterator[World]:
    """An upstream that runs, before the first sync."""
    tree = Path(shutil.copytree(upstream_tree, tmp_path / "upstream"))
    with Upstream(tree) as server:
        yield World(tree, server, settings_of(tmp_path, server.url))


@pytest.fixture
def world(synced: tuple[Path, SyncResult], empty_world: World, tmp_path: Path) -> World:
    """An upstream that runs, and a mirror in step with it."""
    for name in ("mirror", "state"):
        shutil.copytree(synced[0] / name, tmp_path / name, symlinks=True)
    return empty_world


def changed_names(result: SyncResult) -> list[str]:
    names = result.changed_list.read_text().splitlines()
    assert len(names) == result.changed
    return names


def test_the_first_sync_brings_everything(synced: tuple[Path, SyncResult], upstream_tree: Path) -> None:
    directory, result = synced
    mirror = Mirror(directory / "mirror")
    assert changed_names(result) == mirror.package_names()
    assert len(mirror.package_names()) == len(Tree(upstream_tree / "web").serials())
    assert (result.previous_serial, result.serial) == (0, Tree(upstream_tree / "web").last_serial())
    assert mirror.serial() == result.serial
    assert (result.not_found, result.refused) == (0, 0)


def test_nothing_new_changes_nothing(world: World) -> None:
    content = world.content()
    result = world.sync()
    assert (result.changed, result.serial) == (0, result.previous_serial)
    assert world.content() == content


def test_a_release_changes_its_package_alone_and_once(world: World) -> None:
    serial = world.publish("Demo.Mixed_Case")
    result = world.sync()
    assert changed_names(result) == ["demo-mixed-case"]
    assert result.serial == serial > result.previous_serial
    assert "99.0" in world.mirror.document("demo-mixed-case").releases
    assert world.sync().changed == 0


def test_changes_that_were_not_acknowledged_are_told_again(world: World) -> None:
    world.publish("demo-units")
    assert changed_names(sync_mirror(world.settings)) == ["demo-units"]
    world.publish("demo-table")
    assert changed_names(world.sync()) == ["demo-table", "demo-units"]
    assert world.sync().changed == 0


def test_a_removed_project_is_gone_and_told_until_acknowledged_and_its_document_stays(world: World) -> None:
    remove_project(world.tree, "demo-table")
    assert changed_names(sync_mirror(world.settings)) == changed_names(world.sync()) == ["demo-table"]
    assert read_gone(world.settings.gone_file).keys() == {"demo-table"}
    assert "demo-table" in world.mirror.package_names()
    assert world.sync().changed == 0
    assert read_gone(world.settings.gone_file).keys() == {"demo-table"}


def test_a_project_that_was_made_again_is_no_longer_gone(world: World) -> None:
    tree = Tree(world.tree / "web")
    serials, document = tree.serials(), tree.read_document("demo-table")
    remove_project(world.tree, "demo-table")
    world.sync()
    serial = tree.last_serial() + 1
    tree.write_document("demo-table", {**document, "last_serial": serial})
    tree.write_index({**serials, "demo-table": serial}, serial)
    assert changed_names(world.sync()) == ["demo-table"]
    assert read_gone(world.settings.gone_file) == {}


def test_a_project_that_upstream_forgot_to_list_once_is_back_with_the_next_sync(world: World) -> None:
    tree = Tree(world.tree / "web")
    serials, last = tree.serials(), tree.last_serial()
    tree.write_index({name: serial for name, serial in serials.items() if name != "demo-table"}, last)
    assert changed_names(world.sync()) == ["demo-table"]
    tree.write_index(serials, last)
    assert changed_names(world.sync()) == ["demo-table"]
    assert read_gone(world.settings.gone_file) == {}


def test_a_list_that_is_older_than_what_was_just_fetched_hides_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(world.tree / "web")
    world.publish("demo-units")
    last = tree.last_serial()
    without = {name: serial for name, serial in tree.serials().items() if name != "demo-units"}
    lists = []

    def from_a_cache(path: str) -> None:
        if path.startswith("/simple"):
            lists.append(path)
            if len(lists) == 2:  # bandersnatch asked first
                tree.write_index(without, last)

    monkeypatch.setattr(world.server, "on_request", from_a_cache)
    assert changed_names(world.sync()) == ["demo-units"]
    assert len(lists) == 2
    assert read_gone(world.settings.gone_file) == {}


def test_if_upstream_does_not_say_what_is_gone_the_sync_fails_and_the_next_tells_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("demo-units")
    remove_project(world.tree, "demo-table")
    lists = []

    def fails(path: str) -> None:
        if path.startswith("/simple"):
            lists.append(path)
            if len(lists) == 2:
                world.server.faults["/simple"] = HTTPStatus.BAD_GATEWAY

    with monkeypatch.context() as patch:
        patch.setattr(world.server, "on_request", fails)
        with pytest.raises(SyncError, match=r"which projects upstream no longer has could not be asked: .*502"):
            world.sync()
    world.server.faults.clear()
    assert changed_names(world.sync()) == ["demo-table", "demo-units"]


def test_a_list_without_projects_is_not_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(world.tree / "web")
    tree.write_index({}, tree.last_serial())
    with pytest.raises(SyncError, match="lists no project at all"):
        world.sync()
    assert not world.settings.gone_file.exists() or read_gone(world.settings.gone_file) == {}


def test_a_damaged_note_of_what_is_gone_says_what_to_do(world: World) -> None:
    world.settings.gone_file.write_text("[")
    with pytest.raises(SyncError, match=r"gone\.json is damaged .*remove it"):
        world.sync()
    world.settings.gone_file.unlink()
    assert world.sync().changed == 0


def test_an_upstream_that_is_down_changes_nothing_and_a_later_sync_recovers(world: World) -> None:
    content = world.content()
    world.publish("demo-units")
    world.server.stop()
    with pytest.raises(SyncError, match=r"exit code 1 .*Cannot connect to host 127\.0\.0\.1.*keeps its serial"):
        world.sync()
    assert world.content() == content
    world.server.start()
    assert changed_names(world.sync()) == ["demo-units"]


def test_an_upstream_in_trouble_is_an_error(world: World) -> None:
    world.server.faults["/simple"] = HTTPStatus.BAD_GATEWAY
    with pytest.raises(SyncError, match="502"):
        world.sync()


def test_a_package_that_fails_fails_the_sync_though_bandersnatch_exits_with_0(world: World) -> None:
    serial = world.mirror.serial()
    world.publish("demo-graph")
    world.publish("demo-units")
    world.server.faults["/pypi/demo-graph/json"] = HTTPStatus.SERVICE_UNAVAILABLE
    with pytest.raises(SyncError, match=r"exit code 0 .*Error syncing package: demo-graph"):
        world.sync()
    assert world.mirror.serial() == serial
    world.server.faults.clear()
    result = world.sync()
    assert changed_names(result) == ["demo-graph", "demo-units"]  # the second was there after the failed sync already
    assert result.previous_serial == serial


def test_a_listed_package_without_a_document_is_recorded_and_no_error(world: World) -> None:
    world.publish("demo-graph")
    serial = world.publish("demo-units")
    world.server.faults["/pypi/demo-graph/json"] = HTTPStatus.NOT_FOUND
    result = world.sync()
    assert result.not_found == 1
    left_out = (world.settings.state_dir / "left-out.txt").read_text()
    assert left_out == f"{serial}\tno JSON document: 'demo-graph'\n"
    assert changed_names(result) == ["demo-units"]
    assert result.serial == serial


def test_a_project_name_that_is_a_path_is_refused(world: World, tmp_path: Path) -> None:
    serial = world.publish("demo-units")
    tree = Tree(world.tree / "web")
    hostile = {str(tmp_path / "outside" / "name"): serial, "../../outside": serial, "new\nline": serial}
    tree.write_index(tree.serials() | hostile, serial)
    result = world.sync()
    assert changed_names(result) == ["demo-units"]
    assert (result.serial, result.refused) == (serial, 3)
    left_out = (world.settings.state_dir / "left-out.txt").read_text().splitlines()
    assert len(left_out) == 3
    assert all(line.startswith(f"{serial}\trefused: not a valid project name: ") for line in left_out)
    assert not list(tmp_path.rglob("outside*"))


def test_a_release_file_that_would_lie_outside_the_mirror_is_refused(world: World, tmp_path: Path) -> None:
    serial = world.publish("demo-units")
    tree = Tree(world.tree / "web")
    document = tree.read_document("demo-units")
    good, bad = document["releases"]["99.0"][0], document["releases"]["99.0"][-1]
    assert good is not bad
    bad["url"] = "http://upstream.invalid/packages/../../../packages/outside.whl"
    tree.write_document("demo-units", document)
    served = world.tree.parent / "packages" / "outside.whl"
    served.parent.mkdir()
    served.write_bytes(b"x")
    result = world.sync()
    assert (result.serial, result.changed, result.refused) == (serial, 1, 1)
    assert (
        "refused: 'demo-units': path with an unusable component"
        in (world.settings.state_dir / "left-out.txt").read_text()
    )
    served.unlink()
    assert not list(tmp_path.rglob("outside*"))
    assert (world.mirror.web / mirror_path(good["url"])).exists()


def test_without_the_plugins_that_refuse_nothing_is_synced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "entry_points", list)
    with pytest.raises(SyncError, match="would not find the plugins refuse_hostile_files, refuse_hostile_names"):
        world.sync()


def test_a_file_that_is_not_what_its_digest_says_fails_the_sync(world: World) -> None:
    world.publish("demo-units")
    files = Tree(world.tree / "web").read_document("demo-units")["releases"]["99.0"]
    path = world.tree / "web" / files[0]["url"].partition("invalid/")[2]
    path.write_bytes(b"tampered with")
    with pytest.raises(SyncError, match=r"demo_units-99\.0\.tar\.gz"):
        world.sync()
    assert not (world.mirror.web / path.relative_to(world.tree / "web")).exists()


def test_a_second_sync_is_refused_while_another_process_holds_the_lock(world: World) -> None:
    content = world.content()
    config = (world.settings.state_dir / "bandersnatch.conf").read_bytes()
    lock = world.settings.state_dir / "sync.lock"
    hold = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print('held'); sys.stdout.flush(); input()"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SyncRunningError, match=str(lock)):
            world.sync()
        holder.communicate("\n")
    assert world.content() == content
    assert (world.settings.state_dir / "bandersnatch.conf").read_bytes() == config
    assert world.sync().changed == 0


def test_a_killed_run_is_finished_and_upstream_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    serial = world.mirror.serial()
    world.settings = world.settings.model_copy(update={"bandersnatch_workers": 1})
    world.publish("demo-cache")
    world.publish("demo-units")
    run, popen = [], subprocess.Popen

    def kill_at_units(path: str) -> None:
        if path == "/pypi/demo-units/json":
            run[-1].kill()

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *args, **kwargs: run.append(popen(*args, **kwargs)) or run[-1])
        patch.setattr(world.server, "on_request", kill_at_units)
        with pytest.raises(SyncError, match="exit code -9"):
            world.sync()
    assert (world.settings.mirror_root / "todo").exists()
    assert world.mirror.serial() == serial

    last = world.publish("demo-text")  # the todo list does not know of it
    result = world.sync()
    assert changed_names(result) == ["demo-cache", "demo-text", "demo-units"]
    assert (result.previous_serial, result.serial) == (serial, last)
    assert not (world.settings.mirror_root / "todo").exists()


def test_a_damaged_serial_is_an_error_that_says_what_to_do(world: World) -> None:
    (world.settings.mirror_root / "status").write_text("")
    with pytest.raises(SyncError, match="status does not hold a serial number; remove it"):
        world.sync()
    (world.settings.mirror_root / "status").unlink()
    assert world.sync().serial == Tree(world.tree / "web").last_serial()


def test_the_extra_config_reaches_bandersnatch_as_does_a_strange_directory(empty_world: World, tmp_path: Path) -> None:
    extra = tmp_path / "extra.conf"
    extra.write_text(
        "[plugins]\nenabled = allowlist_project\n[allowlist]\npackages =\n    demo-units\n    zope-thing\n"
    )
    empty_world.settings = settings_of(
        tmp_path, empty_world.server.url, mirror_root=tmp_path / "100% mirror", bandersnatch_extra_config=extra
    )
    assert changed_names(empty_world.sync()) == ["demo-units", "zope-thing"]
    assert empty_world.mirror.package_names() == ["demo-units", "zope-thing"]


def test_the_extra_config_cannot_override_ours(tmp_path: Path) -> None:
    extra = tmp_path / "extra.conf"
    extra.write_text(
        "[mirror]\ndirectory = /elsewhere\nworkers = 10\nmaster = http://other.invalid\ncompare-method=stat\n"
    )
    config = bandersnatch_config(settings_of(tmp_path, "http://upstream.invalid", bandersnatch_extra_config=extra))
    mirror = dict(config["mirror"])
    assert mirror["directory"] == str(tmp_path / "mirror")
    assert mirror["workers"] == "3"
    assert mirror["master"] == "http://upstream.invalid"
    assert mirror["allow-non-https"] == "true"
    assert mirror["compare-method"] == "stat"


@pytest.mark.parametrize("content", [None, b"no section", b"[a]\n[a]\n", b"[mirror]\nx = \xff\n"])
def test_an_extra_config_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    extra = tmp_path / "extra.conf"
    if content is not None:
        extra.write_bytes(content)
    with pytest.raises(SyncError, match="bandersnatch_extra_config"):
        sync_mirror(settings_of(tmp_path, "http://upstream.invalid", bandersnatch_extra_config=extra))


def test_without_an_upstream_none_is_named(tmp_path: Path) -> None:
    config = bandersnatch_config(settings_of(tmp_path, None))
    assert not {"master", "allow-non-https"} & set(config["mirror"])


def line(message: str, level: str = "INFO") -> str:
    return f"2026-11-01 00:00:00,000 {level}: {message} (mirror.py:1)\n"


DONE = line("New mirror serial: 7")


@pytest.mark.parametrize(
    ("lines", "exit_code", "outcome"),
    [
        ([DONE], 0, 7),
        ([line("demo no longer exists on PyPI"), DONE, "trailing noise"], 0, 7),
        ([line("odd", "WARNING"), DONE], 0, 7),
        ([DONE], 1, "exit code 1"),
        ([DONE], -9, "exit code -9"),
        ([line("0 packages to sync.")], 0, "no new serial"),
        (["New mirror serial: 7\n"], 0, "no new serial"),
        ([], 0, "no output"),
        (["Traceback:\n", "  File\n", "KeyError: 'x'\n", "\n"], 1, "KeyError: 'x'"),
        ([line("Error syncing package: demo", "ERROR"), DONE], 0, "exit code 0 and 1 errors, a new serial: Error sync"),
        ([line("worse", "CRITICAL"), DONE], 0, "worse"),
        ([line("same", "ERROR")] * 9, 0, "9 errors, no new serial: same. The mirror"),
        ([line(f"e{n}", "ERROR") for n in range(9)], 0, r"e0; e1; e2; e3; e4 \(and 4 more\)"),
    ],
)
def test_what_a_log_means(lines: list[str], exit_code: int, outcome: int | str) -> None:
    log = BandersnatchLog()
    for text in lines:
        log.feed(text)
    if isinstance(outcome, int):
        assert log.check(exit_code) == outcome
    else:
        with pytest.raises(SyncError, match=outcome):
            log.check(exit_code)


def test_what_a_log_counts() -> None:
    log = BandersnatchLog()
    for message in ("3 packages to sync.", "Fetching metadata for package: a (serial 1)", "b no longer exists on PyPI"):
        log.feed(line(message))
    assert (log.to_sync, log.fetched, log.not_found) == (3, 1, ["b"])
