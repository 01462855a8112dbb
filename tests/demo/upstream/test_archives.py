"""The demo's own archives are real: valid, installable, buildable, and the same at every build."""

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from demo.upstream import build_upstream


def _files(upstream: Path) -> list[tuple[dict[str, Any], Path]]:
    """Return (entry of the document, path of the file) of every distribution file."""
    found = []
    for document in sorted((upstream / "web" / "pypi").glob("*/json")):
        for files in json.loads(document.read_bytes())["releases"].values():
            found += [(file, upstream / "web" / file["url"].split("/", 3)[3]) for file in files]
    return found


def _tree_bytes(upstream: Path) -> dict[str, bytes]:
    web = upstream / "web"
    return {str(path.relative_to(web)): path.read_bytes() for path in web.rglob("*") if path.is_file()}


def test_every_wheel_agrees_with_its_record(upstream_tree: Path) -> None:
    wheels = [path for _, path in _files(upstream_tree) if path.suffix == ".whl"]
    assert len(wheels) > 50
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            assert archive.testzip() is None
            (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
            rows = list(csv.reader(io.TextIOWrapper(archive.open(record), encoding="utf-8")))
            assert sorted(row[0] for row in rows) == sorted(archive.namelist())
            for path, digest, size in rows:
                if path == record:
                    continue
                data = archive.read(path)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert (digest, size) == (f"sha256={expected}", str(len(data))), f"{path} of {wheel.name}"


def test_every_wheel_is_named_as_its_metadata_says_and_has_it_beside(upstream_tree: Path) -> None:
    for entry, path in _files(upstream_tree):
        if path.suffix != ".whl":
            assert entry["core-metadata"] is False
            continue
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            (member,) = (member for member in archive.namelist() if member.endswith(".dist-info/METADATA"))
            text = archive.read(member)
        metadata, unparsed = parse_email(text)
        assert (canonicalize_name(metadata["name"]), metadata["version"]) == (name, str(version))
        assert not unparsed
        assert path.with_name(f"{path.name}.metadata").read_bytes() == text
        assert entry["core-metadata"] == {"sha256": hashlib.sha256(text).hexdigest()}


def test_wheels_install_and_import(upstream_tree: Path, pip: list[str], tmp_path: Path) -> None:
    modules = ["demo_cli.main", "demo_mixed_case", "demo_retry", "zope_thing", "demo_unicode", "demo_greeting"]
    wanted = {module.split(".")[0] for module in modules} | {"demo_units", "demo_config"}
    wheels = [
        str(path)
        for _, path in _files(upstream_tree)
        if path.name.endswith("py3-none-any.whl") and path.name.split("-")[0] in wanted
    ]
    newest = {Path(wheel).name.split("-")[0]: wheel for wheel in wheels}
    target = tmp_path / "site"
    install = [*pip, "--isolated", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, *newest.values()], check=True, capture_output=True, text=True)
    program = f"import {', '.join(modules)}; demo_cli.main.main(['greet', 'Ada'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(target)}, check=True, capture_output=True, text=True
    )
    assert done.stdout == "Hello, Ada!\n"
    assert (target / "bin" / "demo-cli").exists()


def test_sdists_build_to_wheels_with_the_same_metadata(upstream_tree: Path, tmp_path: Path) -> None:
    sdists = [
        path
        for _, path in _files(upstream_tree)
        if path.name in ("demo_config-1.0.0.tar.gz", "demo_mixed_case-1.1.tar.gz", "demo_retry-1.0.2.tar.gz")
    ]
    assert len(sdists) == 3
    for sdist in sdists:
        with tarfile.open(sdist) as archive:
            archive.extractall(tmp_path, filter="data")
        source = tmp_path / sdist.name.removesuffix(".tar.gz")
        build = "from flit_core.buildapi import build_wheel; print(build_wheel('.'))"
        done = subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, text=True)
        with zipfile.ZipFile(source / done.stdout.strip()) as archive:
            (member,) = (member for member in archive.namelist() if member.endswith(".dist-info/METADATA"))
            built, _ = parse_email(archive.read(member))
        ours, _ = parse_email((source / "PKG-INFO").read_bytes())
        assert (built["name"], built["version"], built["summary"]) == (ours["name"], ours["version"], ours["summary"])
        assert _requirements(built) == _requirements(ours)


def _requirements(metadata: Any) -> set[frozenset[str]]:
    """Return each requirement as the set of its parts: the order of conditions in a marker has no meaning."""
    return {frozenset(re.split("; | and ", str(Requirement(text)))) for text in metadata.get("requires_dist", [])}


def test_the_truncated_archive_is_truncated_and_its_digest_is_right(upstream_tree: Path) -> None:
    ((entry, path),) = [
        (entry, path) for entry, path in _files(upstream_tree) if path.name == "demo_truncated-1.1.tar.gz"
    ]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["digests"]["sha256"]
    with pytest.raises((EOFError, tarfile.ReadError)), tarfile.open(path) as archive:
        archive.getmembers()


def test_no_other_archive_is_damaged(upstream_tree: Path) -> None:
    for _, path in _files(upstream_tree):
        if path.name.endswith(".tar.gz") and path.name != "demo_truncated-1.1.tar.gz":
            with tarfile.open(path) as archive:
                top = path.name.removesuffix(".tar.gz")
                assert f"{top}/PKG-INFO" in archive.getnames()


def test_the_platform_wheels_share_one_release(upstream_tree: Path) -> None:
    document = json.loads((upstream_tree / "web" / "pypi" / "demo-speedups" / "json").read_bytes())
    wheels = [file["filename"] for file in document["urls"] if file["packagetype"] == "bdist_wheel"]
    assert len({wheel.rpartition("-")[2] for wheel in wheels} - {"any.whl"}) >= 4
    assert any(file["packagetype"] == "sdist" for file in document["urls"])


def test_one_package_declares_a_requirement_that_does_not_parse(upstream_tree: Path) -> None:
    broken = []
    for path in (upstream_tree / "web" / "pypi").glob("*/json"):
        for text in json.loads(path.read_bytes())["info"]["requires_dist"] or []:
            try:
                Requirement(text)
            except InvalidRequirement:
                broken.append(path.parent.name)
    assert set(broken) == {"demo-bad-requirement"}


def test_only_the_python_2_package_is_not_python_3(upstream_tree: Path) -> None:
    broken = set()
    for _, path in _files(upstream_tree):
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith(".py"):
                        try:
                            compile(archive.read(member), member, "exec", dont_inherit=True)
                        except SyntaxError:
                            broken.add(path.name)
    assert broken == {"demo_python2-0.2-py2-none-any.whl"}


def test_two_builds_are_the_same_bytes(upstream_tree: Path, tmp_path: Path) -> None:
    build_upstream(tmp_path, tmp_path / "cache", real_packages=False)
    assert _tree_bytes(tmp_path) == _tree_bytes(upstream_tree)
