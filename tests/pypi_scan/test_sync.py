"""Syncs by the real bandersnatch from the demo's upstream, in good and in bad weather."""

import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from demo.static_server import Response
from demo.upstream import UpstreamServer, publish_release, remove_project, set_status, yank_release
from demo.upstream.server import damaged, garbled
from demo.upstream.tree import Tree, new_document
from pypi_scan import bandersnatch_config as config_module
from pypi_scan import bandersnatch_run, sync_work
from pypi_scan.bandersnatch_config import bandersnatch_config
from pypi_scan.bandersnatch_log import Kind
from pypi_scan.choose import choose
from pypi_scan.gone import read_gone
from pypi_scan.mirror import Mirror
from pypi_scan.names import mirror_path
from pypi_scan.project_status import read_statuses
from pypi_scan.settings import Settings
from pypi_scan.sync import SyncResult, acknowledge_changes, sync_mirror
from pypi_scan.sync_errors import SyncError, SyncRunningError
from pypi_scan.sync_lock import sync_lock
from pypi_scan.sync_report import SyncReport, read_report
from pypi_scan.todo_list import Todo, read_todo, write_todo

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

    @property
    def report(self) -> SyncReport:
        """What the mirror lacks."""
        return read_report(self.settings.sync_report)

    def file_path(self, name: str, version: str = "99.0") -> Path:
        """Return where upstream has the first file of a release."""
        url = Tree(self.tree / "web").read_document(name)["releases"][version][0]["url"]
        return self.tree / "web" / mirror_path(url)

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


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_work, "RETRY_SECONDS", (0.0,))


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
    assert (result.put_aside, result.refused) == ({}, 0)


def test_nothing_new_changes_nothing(world: World) -> None:
    world.sync()  # bandersnatch notes the serial on its index page only now
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


def test_a_list_that_is_older_than_what_was_just_fetched_hides_nothing(world: World) -> None:
    tree = Tree(world.tree / "web")
    before = tree.serials()
    new = "Brand.New"
    serial = tree.last_serial() + 1
    tree.write_document(new, {**new_document(new, serial)})
    write_todo(world.settings.mirror_root / "todo", Todo(serial, {new: serial}))  # of a sync that was interrupted
    tree.write_index(before, serial - 1)  # of a cache
    assert changed_names(world.sync()) == ["brand-new"]
    assert read_gone(world.settings.gone_file) == {}


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
    with pytest.raises(SyncError, match=r"could not be asked .*Cannot connect to host 127\.0\.0\.1.*asks again"):
        world.sync()
    assert world.content() == content
    world.server.start()
    assert changed_names(world.sync()) == ["demo-units"]


def test_an_upstream_in_trouble_is_an_error(world: World) -> None:
    world.server.faults["/simple"] = HTTPStatus.BAD_GATEWAY
    with pytest.raises(SyncError, match="502"):
        world.sync()


def test_packages_that_fail_are_told_apart_put_aside_and_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_work, "RETRY_SECONDS", ())
    names = [f"demo-{name}" for name in ("cache", "cli", "config", "graph", "retry", "table", "text", "units")]
    serials = {name: world.publish(name) for name in names}
    good = world.file_path("demo-table").read_bytes()
    world.file_path("demo-table").write_bytes(b"tampered with")
    files = {name: f"/{world.file_path(name).relative_to(world.tree / 'web')}" for name in names}
    world.server.faults |= {
        "/pypi/demo-cache/json": damaged(b"{}", serials["demo-cache"] - 1),
        "/pypi/demo-cli/json": HTTPStatus.NOT_FOUND,
        "/pypi/demo-config/json": damaged(b"{ no JSON", serials["demo-config"]),
        "/pypi/demo-graph/json": HTTPStatus.SERVICE_UNAVAILABLE,
        files["demo-text"]: garbled(),
        files["demo-units"]: HTTPStatus.NOT_FOUND,
    }
    kinds = {
        "demo-cache": Kind.STALE,
        "demo-cli": Kind.NOT_FOUND,
        "demo-config": Kind.UNEXPLAINED,
        "demo-graph": Kind.SERVER_ERROR,
        "demo-table": Kind.WRONG_DIGEST,
        "demo-text": Kind.CUT_OFF,
        "demo-units": Kind.FILE_NOT_FOUND,
    }
    result = world.sync()
    assert result.serial == world.mirror.serial() == serials["demo-units"]
    assert {name: each.kind for name, each in world.report.put_aside.items()} == kinds
    assert result.put_aside == dict.fromkeys(sorted(kinds.values()), 1)
    assert "demo_units-99.0" in world.report.put_aside["demo-units"].reason
    assert "demo-retry" in changed_names(result)
    assert not (world.mirror.web / files["demo-table"][1:]).exists()
    assert not list((world.mirror.web / "packages").rglob(".*"))  # what a failed download leaves

    first = world.report
    again = world.sync()
    assert again.changed == 0  # the documents were written anew, as they were
    assert {name: each.tries for name, each in world.report.put_aside.items()} == dict.fromkeys(kinds, 2)
    assert all(each.since == first.put_aside[name].since for name, each in world.report.put_aside.items())

    world.server.faults.clear()
    world.file_path("demo-table").write_bytes(good)
    healed = world.sync()
    assert (healed.serial, healed.put_aside, world.report.put_aside) == (result.serial, {}, {})
    assert changed_names(healed) == sorted(kinds)
    assert all((world.mirror.web / path[1:]).exists() for path in files.values())


def test_what_passes_is_tried_again_by_the_same_sync(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    serial = world.publish("demo-graph")
    document = "/pypi/demo-graph/json"
    asked: list[str] = []

    def heals(path: str) -> None:
        asked.append(path)
        world.server.faults = {} if asked.count(document) > 1 else {document: HTTPStatus.SERVICE_UNAVAILABLE}

    monkeypatch.setattr(world.server, "on_request", heals)
    result = world.sync()
    assert (result.serial, result.put_aside, changed_names(result)) == (serial, {}, ["demo-graph"])
    assert asked.count(document) == 2


def test_a_listed_package_without_a_document_is_tried_a_few_times_and_kept_in_the_report(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("demo-graph")
    document = "/pypi/demo-graph/json"
    world.server.faults[document] = HTTPStatus.NOT_FOUND
    asked: list[str] = []
    monkeypatch.setattr(world.server, "on_request", asked.append)
    for _ in range(4):
        assert world.sync().put_aside == {"not_found": 1}
    assert asked.count(document) == 3
    remove_project(world.tree, "demo-graph")
    world.server.faults.clear()
    assert world.sync().put_aside == {}


def test_a_sync_does_not_begin_on_a_disk_that_is_nearly_full(world: World) -> None:
    content = world.content()
    world.settings = world.settings.model_copy(update={"min_free_gb": 1e9})
    with pytest.raises(SyncError, match=r"only .* GB are free .*PYPI_SCAN_MIN_FREE_GB"):
        world.sync()
    assert world.content() == content


def test_a_disk_that_fills_ends_the_run_and_what_is_left_is_taken_up_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settings = world.settings.model_copy(update={"bandersnatch_workers": 1})
    world.publish("demo-cache")
    last = world.publish("demo-units")
    ended, statvfs = threading.Event(), os.statvfs

    def nearly_full(path: Path) -> os.statvfs_result:
        return os.statvfs_result([1, 1, *[0] * 8, 0])

    def fills(path: str) -> None:
        if path == "/pypi/demo-units/json" and not ended.is_set():
            monkeypatch.setattr(os, "statvfs", nearly_full)
            ended.wait(30)

    monkeypatch.setattr(bandersnatch_run, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(world.server, "on_request", fills)
    with pytest.raises(SyncError, match=r"only 0\.0 GB are free"):
        world.sync()
    ended.set()
    assert read_todo(world.settings.mirror_root / "todo").packages.keys() == {"demo-units"}
    monkeypatch.setattr(os, "statvfs", statvfs)
    result = world.sync()
    assert (result.serial, changed_names(result)) == (last, ["demo-cache", "demo-units"])


def test_a_quarantined_project_is_told_and_keeps_what_the_mirror_has_of_it(world: World) -> None:
    before = world.mirror.document("demo-table")
    upstream_document = Tree(world.tree / "web").read_document("demo-table")
    set_status(world.tree, "demo-units", "archived", "use another")
    serial = set_status(world.tree, "demo-table", "quarantined", "malware\n")
    result = sync_mirror(world.settings)
    assert (result.serial, result.put_aside) == (serial, {"quarantined": 1})
    assert changed_names(result) == changed_names(world.sync()) == ["demo-table", "demo-units"]
    statuses = read_statuses(world.settings.project_status_file)
    assert statuses.quarantined() == {"demo-table"}
    told = {name: (each.status, each.reason) for name, each in statuses.projects.items()}
    assert told == {"demo-table": ("quarantined", "malware "), "demo-units": ("archived", "use another")}
    assert world.mirror.document("demo-table") == before
    assert world.sync().changed == 0

    Tree(world.tree / "web").write_document("demo-table", upstream_document)
    set_status(world.tree, "demo-table", "active")
    result = world.sync()
    assert (changed_names(result), result.put_aside) == (["demo-table"], {})
    assert read_statuses(world.settings.project_status_file).quarantined() == set()


def test_a_project_that_upstream_no_longer_lists_since_it_is_quarantined_is_told_so(world: World) -> None:
    set_status(world.tree, "demo-table", "quarantined")
    remove_project(world.tree, "demo-table")
    assert changed_names(world.sync()) == ["demo-table"]
    assert read_gone(world.settings.gone_file).keys() == {"demo-table"}
    assert read_statuses(world.settings.project_status_file).quarantined() == {"demo-table"}


def test_a_status_that_upstream_did_not_tell_is_asked_for_again(world: World) -> None:
    world.publish("demo-units")
    world.server.faults["/simple/demo-units/"] = HTTPStatus.BAD_GATEWAY
    Tree(world.tree / "web").write_status("demo-units", "archived", "")
    assert changed_names(world.sync()) == ["demo-units"]
    world.server.faults.clear()
    assert changed_names(world.sync()) == ["demo-units"]
    assert read_statuses(world.settings.project_status_file).changed_since(0) == {"demo-units"}


def test_a_scan_takes_the_release_before_one_that_was_yanked(world: World) -> None:
    def chosen() -> str:
        (line,) = choose(world.mirror, ["demo-units"], datetime.now(UTC)).releases
        return str(json.loads(line)["version"])

    before = chosen()
    world.publish("demo-units")
    world.sync()
    assert chosen() == "99.0"
    yank_release(world.tree, "demo-units", "99.0")
    assert changed_names(world.sync()) == ["demo-units"]
    assert chosen() == before


def test_a_project_name_that_is_a_path_is_refused(world: World, tmp_path: Path) -> None:
    serial = world.publish("demo-units")
    tree = Tree(world.tree / "web")
    hostile = {str(tmp_path / "outside" / "name"): serial, "../../outside": serial, "new\nline": serial}
    tree.write_index(tree.serials() | hostile, serial)
    result = world.sync()
    assert changed_names(result) == ["demo-units"]
    assert (result.serial, result.refused) == (serial, 3)
    assert len(world.report.refused) == 3
    assert all(reason.startswith("not a valid project name: ") for reason in world.report.refused)
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
    assert any(reason.startswith("'demo-units': path with an unusable") for reason in world.report.refused)
    served.unlink()
    assert not list(tmp_path.rglob("outside*"))
    assert (world.mirror.web / mirror_path(good["url"])).exists()


def test_without_the_plugins_that_refuse_nothing_is_synced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "entry_points", list)
    with pytest.raises(SyncError, match="would not find the plugins refuse_hostile_files, refuse_hostile_names"):
        world.sync()


def test_a_second_sync_is_refused_while_another_process_holds_the_lock(world: World) -> None:
    content = world.content()
    config = (world.settings.state_dir / "bandersnatch.conf").read_bytes()
    with (
        sync_lock(world.settings.mirror_root, "pypi_sync"),
        pytest.raises(SyncRunningError, match=r"pypi_sync \(process \d+ on .*\.sync-lock"),
    ):
        world.sync()
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


@pytest.mark.parametrize("damage", ["", "not a serial\n", "7\ndemo-units\n", "7\n../../outside 7\n"])
def test_a_damaged_list_is_set_aside_and_upstream_asked_anew(world: World, damage: str) -> None:
    serial = world.publish("demo-units")
    (world.settings.mirror_root / "todo").write_text(damage)
    result = world.sync()
    assert (result.serial, changed_names(result)) == (serial, ["demo-units"])
    (aside,) = world.settings.mirror_root.glob("todo.damaged-*")
    assert aside.read_text() == damage


def test_a_damaged_serial_is_set_aside_and_the_whole_mirror_gone_through(world: World) -> None:
    content = world.content()
    (world.settings.mirror_root / "status").write_text("")
    assert world.sync().serial == Tree(world.tree / "web").last_serial()
    assert list(world.settings.mirror_root.glob("status.damaged-*"))
    assert world.content().keys() == content.keys()


def test_without_its_generation_a_mirror_keeps_its_serial(world: World) -> None:
    serial = world.mirror.serial()
    (world.settings.mirror_root / "generation").write_bytes(b"")
    world.publish("demo-units")
    result = world.sync()
    assert (result.previous_serial, changed_names(result)) == (serial, ["demo-units"])


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
