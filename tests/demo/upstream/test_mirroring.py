"""Real clients: bandersnatch mirrors the upstream, pip downloads from the mirror."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from demo.static_server import StaticServer
from demo.upstream import UpstreamServer, publish_release, remove_project
from demo.upstream.tree import ORIGIN, Tree

BANDERSNATCH = Path(sys.executable).with_name("bandersnatch")


class MirrorRun:
    """Runs bandersnatch on a mirror below `directory`."""

    def __init__(self, directory: Path, upstream_url: str) -> None:
        self.web = directory / "mirror" / "web"
        self._config = directory / "bandersnatch.conf"
        self._config.write_text(
            "[mirror]\n"
            f"directory = {directory / 'mirror'}\n"
            f"master = {upstream_url}\n"
            "allow-non-https = true\n"
            "json = true\n"
            "release-files = true\n"
            "hash-index = false\n"
            "stop-on-error = false\n"
            "workers = 3\n"
            "verifiers = 3\n"
            "timeout = 10\n"
        )

    def sync(self) -> str:
        """Run one sync and return its log; fails the test unless it exits with 0."""
        done = subprocess.run(
            [str(BANDERSNATCH), "--config", str(self._config), "mirror"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def digests(self) -> dict[str, str]:
        """Return path below web/packages -> sha256."""
        return _digests(self.web / "packages")


def _digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def upstream(upstream_tree: Path, tmp_path: Path) -> Path:
    """A copy of the session's upstream, to change."""
    return Path(shutil.copytree(upstream_tree, tmp_path / "upstream"))


def test_bandersnatch_mirrors_everything_and_then_what_changed(upstream: Path, tmp_path: Path) -> None:
    names = Tree(upstream / "web").serials()
    with UpstreamServer(upstream) as server:
        mirror = MirrorRun(tmp_path, server.url)
        log = mirror.sync()
        assert f"New mirror serial: {max(names.values())}" in log
        assert "ERROR" not in log
        assert mirror.digests() == _digests(upstream / "web" / "packages")
        assert {path.name for path in (mirror.web / "json").iterdir()} == {canonicalize_name(name) for name in names}

        log = mirror.sync()
        assert "0 packages to sync" in log

        known = mirror.digests()
        serial = publish_release(upstream, "Demo.Mixed_Case", "2.0", uploaded=datetime(2026, 11, 1, tzinfo=UTC))
        remove_project(upstream, "demo-table")
        log = mirror.sync()
        assert f"New mirror serial: {serial}" in log
        assert "ERROR" not in log
        assert re.findall(r"Fetching metadata for package: (\S+)", log) == ["demo-mixed-case"]
        added = sorted(Path(path).name for path in mirror.digests().keys() - known.keys())
        wheel = "demo_mixed_case-2.0-py3-none-any.whl"
        assert added == [wheel, f"{wheel}.metadata", "demo_mixed_case-2.0.tar.gz"]


def test_urls_on_the_mirror_point_at_the_running_server(upstream_tree: Path, tmp_path: Path) -> None:
    with UpstreamServer(upstream_tree) as server:
        mirror = MirrorRun(tmp_path, server.url)
        mirror.sync()
        text = (mirror.web / "json" / "demo-greeting").read_text()
    assert ORIGIN not in text
    assert json.loads(text)["urls"][0]["url"].startswith(f"{server.url}/packages/")


def test_pip_downloads_from_the_mirror(upstream_tree: Path, pip: list[str], tmp_path: Path) -> None:
    with UpstreamServer(upstream_tree) as server:
        mirror = MirrorRun(tmp_path, server.url)
        mirror.sync()
    downloads = tmp_path / "downloads"
    with StaticServer(mirror.web) as server:
        command = [*pip, "--isolated", "download", "--no-deps", "--index-url", f"{server.url}/simple/"]
        environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull}  # not even the machine's own configuration
        packages = ["demo-greeting", "ZOPE.Thing", "demo-units"]
        subprocess.run(
            [*command, "--dest", str(downloads), *packages], env=environment, check=True, capture_output=True, text=True
        )
    assert sorted(path.name for path in downloads.iterdir()) == [
        "demo_greeting-1.3.0-py3-none-any.whl",
        "demo_units-1.2-py3-none-any.whl",
        "zope_thing-4.0-py3-none-any.whl",
    ]


def test_faults_reach_bandersnatch_and_a_later_sync_mends_them(upstream_tree: Path, tmp_path: Path) -> None:
    with UpstreamServer(upstream_tree) as server:
        mirror = MirrorRun(tmp_path, server.url)
        server.faults["/pypi/demo-graph/json"] = HTTPStatus.SERVICE_UNAVAILABLE
        log = mirror.sync()
        assert "ERROR: Error syncing package: demo-graph" in log
        assert not (mirror.web / "json" / "demo-graph").exists()
        server.faults.clear()
        mirror.sync()
        assert (mirror.web / "json" / "demo-graph").exists()


def test_the_server_answers_nothing_else(upstream_tree: Path) -> None:
    server = UpstreamServer(upstream_tree)
    for path in (
        "/",
        "/fingerprint",
        "/simple/index.v1_json",
        "/pypi/demo-units",
        "/pypi/no-such/json",
        "/packages/no",
    ):
        assert server.answer(path).status == HTTPStatus.NOT_FOUND, path
