"""The upstream tree: documents, history, serials, and how the world moves."""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from demo.upstream import UpstreamError, build_upstream, publish_release, remove_project
from demo.upstream.real_packages import (
    PinMismatchError,
    RealPackagesUnavailableError,
    fetch_real_packages,
    load_pins,
)
from demo.upstream.tree import FIRST_SERIAL, Tree

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def upstream(upstream_tree: Path, tmp_path: Path) -> Path:
    """A copy of the session's upstream, to change."""
    return Path(shutil.copytree(upstream_tree, tmp_path / "upstream"))


def _document(upstream: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((upstream / "web" / "pypi" / name / "json").read_bytes())
    return document


def test_serials_rise_with_the_last_upload_and_documents_agree(upstream_tree: Path) -> None:
    tree = Tree(upstream_tree / "web")
    serials = tree.serials()
    assert len(serials) >= 25
    assert sorted(serials.values()) == list(range(FIRST_SERIAL, FIRST_SERIAL + len(serials)))
    last_uploads = []
    for name in sorted(serials, key=lambda name: serials[name]):
        document = _document(upstream_tree, canonicalize_name(name))
        assert document["last_serial"] == serials[name]
        assert document["info"]["name"] == name
        uploads = [file["upload_time_iso_8601"] for files in document["releases"].values() for file in files]
        last_uploads.append(max(uploads, default=""))
    uploads_without_deleted = [upload for upload in last_uploads if upload]
    assert uploads_without_deleted[-1] == max(uploads_without_deleted)


def test_every_file_lies_where_its_blake2_says_and_matches_its_digests(upstream_tree: Path) -> None:
    web = upstream_tree / "web"
    for path in (web / "pypi").glob("*/json"):
        for files in json.loads(path.read_bytes())["releases"].values():
            for file in files:
                blake2 = file["digests"]["blake2b_256"]
                location = f"packages/{blake2[:2]}/{blake2[2:4]}/{blake2[4:]}/{file['filename']}"
                assert file["url"].endswith(f"/{location}")
                data = (web / location).read_bytes()
                assert file["size"] == len(data)
                assert file["digests"] == {
                    "blake2b_256": hashlib.blake2b(data, digest_size=32).hexdigest(),
                    "md5": hashlib.md5(data).hexdigest(),
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
                moment = datetime.fromisoformat(file["upload_time_iso_8601"])
                assert moment.strftime("%Y-%m-%dT%H:%M:%S") == file["upload_time"]


def test_the_history_spans_two_years_and_ends_before_november_2026(upstream_tree: Path) -> None:
    uploads = [
        file["upload_time"]
        for path in (upstream_tree / "web" / "pypi").glob("*/json")
        for files in json.loads(path.read_bytes())["releases"].values()
        for file in files
    ]
    assert min(uploads) < "2024-11-01"
    assert "2026-10-01" < max(uploads) < "2026-11-01"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("demo-greeting", "1.3.0"),  # newer: a pre-release
        ("demo-units", "1.2"),  # newer: yanked
        ("demo-withdrawn", "0.2"),  # all yanked
        ("demo-early-access", "0.1b1"),  # pre-releases only
        ("demo-old-versions", "1!1.0"),  # uploaded later: an older version; and one that is no PEP 440 version
        ("demo-deleted-files", "1.1"),
        ("demo-reserved-name", None),
    ],
)
def test_info_describes_the_latest_release(upstream_tree: Path, name: str, version: str | None) -> None:
    document = _document(upstream_tree, name)
    assert document["info"]["version"] == version
    assert document["urls"] == document["releases"].get(version, [])


def test_a_second_build_leaves_everything_as_it_is(upstream: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in upstream.rglob("*")}
    build_upstream(upstream, upstream / "cache", real_packages=False)
    assert {path: path.stat().st_mtime_ns for path in upstream.rglob("*")} == before


def test_a_rebuild_after_a_change_gets_higher_serials(upstream: Path) -> None:
    before = Tree(upstream / "web").serials()
    (upstream / "fingerprint").write_text("of older package files")
    build_upstream(upstream, upstream / "cache", real_packages=False)
    after = Tree(upstream / "web").serials()
    assert after.keys() == before.keys()
    assert min(after.values()) > max(before.values())


def test_publishing_a_release_changes_that_package_only(upstream: Path) -> None:
    before = Tree(upstream / "web").serials()
    serial = publish_release(upstream, "demo-units", "2.0", uploaded=NOW, files={"demo_units/news.py": "NEWS = 1\n"})
    assert Tree(upstream / "web").serials() == before | {"demo-units": serial}
    assert serial == max(before.values()) + 1
    document = _document(upstream, "demo-units")
    assert (document["last_serial"], document["info"]["version"]) == (serial, "2.0")
    assert [file["packagetype"] for file in document["urls"]] == ["sdist", "bdist_wheel"]
    assert {file["upload_time_iso_8601"] for file in document["urls"]} == {"2026-11-01T12:00:00.000000Z"}
    assert set(document["releases"]) == {"1.0", "1.1", "1.2", "1.3", "2.0"}


def test_a_published_release_survives_the_next_build(upstream: Path) -> None:
    publish_release(upstream, "demo-units", "2.0", uploaded=NOW)
    build_upstream(upstream, upstream / "cache", real_packages=False)
    assert "2.0" in _document(upstream, "demo-units")["releases"]


def test_a_release_of_an_older_branch_does_not_become_the_latest(upstream: Path) -> None:
    publish_release(upstream, "Demo-Greeting", "1.0.1", uploaded=NOW)
    assert _document(upstream, "demo-greeting")["info"]["version"] == "1.3.0"


@pytest.mark.parametrize(("name", "version"), [("demo-unknown", "1.0"), ("demo-units", "1.2")])
def test_what_cannot_be_published_is_refused(upstream: Path, name: str, version: str) -> None:
    with pytest.raises(UpstreamError):
        publish_release(upstream, name, version, uploaded=NOW)


def test_removing_a_project(upstream: Path) -> None:
    tree = Tree(upstream / "web")
    before = tree.last_serial()
    remove_project(upstream, "demo-mixed-case")
    assert "Demo.Mixed_Case" not in tree.serials()
    assert not tree.document_path("demo-mixed-case").exists()
    assert tree.last_serial() == before + 1
    with pytest.raises(UpstreamError):
        remove_project(upstream, "demo-mixed-case")


def test_real_packages_come_from_pip_then_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    try:
        fetch_real_packages(cache)
    except RealPackagesUnavailableError as error:
        if "No matching distribution found" not in str(error):  # what pip says where no index can be reached
            raise
        pytest.skip(f"no network: {error}")
    monkeypatch.setattr("demo.upstream.real_packages.pip_command", lambda _: pytest.fail("pip was called again"))
    summary = build_upstream(tmp_path / "upstream", cache)
    assert (summary.real_packages, summary.notice) == (len(load_pins()), None)
    assert summary.real_packages >= 12
    requests = _document(tmp_path / "upstream", "requests")["info"]["requires_dist"]
    assert any(requirement.startswith("idna") for requirement in requests)


def _pip_that(tmp_path: Path, message: str) -> list[str]:
    script = tmp_path / "pip.sh"
    script.write_text(f"echo 'ERROR: {message}' >&2; exit 1\n")
    return ["sh", str(script)]


def test_without_a_network_the_demo_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = _pip_that(tmp_path, "No matching distribution found for six")
    monkeypatch.setattr("demo.upstream.real_packages.pip_command", lambda _: pip)
    summary = build_upstream(tmp_path / "upstream", tmp_path / "cache")
    assert summary.real_packages == 0
    assert summary.own_packages >= 25
    assert summary.notice is not None
    assert summary.notice.endswith("pip: ERROR: No matching distribution found for six")


def test_a_download_that_is_not_the_pinned_one_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = _pip_that(tmp_path, "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.")
    monkeypatch.setattr("demo.upstream.real_packages.pip_command", lambda _: pip)
    with pytest.raises(PinMismatchError):
        build_upstream(tmp_path / "upstream", tmp_path / "cache")
