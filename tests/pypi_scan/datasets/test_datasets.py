"""Each dataset of a small mirror, read back with gzip, json, tarfile and md5sum only."""

import gzip
import json
import logging
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypi_scan import datasets, progress
from pypi_scan.datasets.requirements import dependency_names
from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.project_status import ProjectStatus, ProjectStatuses, Status

from .steps import build_all

MakeMirror = Callable[..., Mirror]

PACKAGES = {
    "flask": [
        "Werkzeug>=3.0",
        "jinja2 (>=3.1.2)",
        "asgiref>=3.2; extra == 'async'",
        "importlib-metadata>=3.6; python_version < '3.10'",
    ],
    "jinja2": ["MarkupSafe>=2.0", "Babel>=2.7 ; extra == 'i18n'"],
    "markupsafe": None,
    "odd": [
        "MARKUP.Safe",
        "markup-safe==1",
        "not a requirement",
        "odd[all]",
        "zope.interface @ https://example.org/z.zip",
    ],
    "broken": b"{ not JSON",
    "werkzeug": ["markupsafe>=2.1.1"],
}
DEPENDENCIES = {
    "flask": ["asgiref", "importlib-metadata", "jinja2", "werkzeug"],
    "jinja2": ["babel", "markupsafe"],
    "markupsafe": [],
    "odd": ["markup-safe", "odd", "zope-interface"],
    "werkzeug": ["markupsafe"],
}
REVERSE_DEPENDENCIES = {
    "asgiref": ["flask"],
    "babel": ["jinja2"],
    "importlib-metadata": ["flask"],
    "jinja2": ["flask"],
    "markup-safe": ["odd"],
    "markupsafe": ["jinja2", "werkzeug"],
    "odd": ["odd"],
    "werkzeug": ["flask"],
    "zope-interface": ["odd"],
}
STATS = b'{"package_name": "Jinja2", "downloads": 500}\n{"package_name": "flask", "downloads": "900"}\n'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "datasets"


@pytest.fixture
def stats_file(tmp_path: Path) -> Path:
    path = tmp_path / "stats.jsonl"
    path.write_bytes(STATS)
    return path


def unzip(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_everything_in_order(make_mirror: MakeMirror, directory: Path, stats_file: Path) -> None:
    summary = build_all(make_mirror(PACKAGES), directory, stats_file)
    assert json.loads(json.dumps(summary)) == {
        "extract": {"packages": 6, "unreadable": 1, "gone": 0, "read": 6},
        "package_list": {"packages": 6},
        "dependencies": {"packages": 5, "dependencies": 10, "unparsable": 1},
        "download_stats": {"packages": 2, "downloads": 1400, "source": "file", "age_days": 0},
        "project_status": {"archived": 0, "deprecated": 0, "quarantined": 0},
        "aura_dataset": {
            "reverse_dependencies": len(unzip(directory / "public/reverse_dependencies.gz")),
            "pypi_stats": len(unzip(directory / "public/pypi_download_stats.gz")),
        },
        "checksums": {
            "files": [
                "aura_dataset.tgz",
                "dependency_list.gz",
                "pypi_download_stats.gz",
                "pypi_download_stats.json",
                "pypi_package_list.gz",
                "pypi_project_status.json.gz",
                "reverse_dependencies.gz",
            ]
        },
    }


def test_package_list_has_every_package_also_where_scanners_look_for_it(
    make_mirror: MakeMirror, directory: Path
) -> None:
    mirror = make_mirror(PACKAGES)
    datasets.write_extract(mirror, directory)
    datasets.write_package_list(mirror, directory)
    expected = "broken\nflask\njinja2\nmarkupsafe\nodd\nwerkzeug\n"
    assert unzip(directory / "public/pypi_package_list.gz") == expected
    served = mirror.web / "pypi_package_list.txt"
    assert served.read_text() == expected
    assert stat.S_IMODE(served.stat().st_mode) & stat.S_IROTH, "the web server may run as another user"


def test_dependencies_and_reverse_dependencies(make_mirror: MakeMirror, directory: Path) -> None:
    datasets.write_extract(make_mirror(PACKAGES), directory)
    datasets.write_dependencies(directory)
    lines = [json.loads(line) for line in unzip(directory / "public/dependency_list.gz").splitlines()]
    assert lines == [{"package_name": name, "dependencies": names} for name, names in DEPENDENCIES.items()]
    reverse = json.loads(unzip(directory / "public/reverse_dependencies.gz"))
    assert reverse == REVERSE_DEPENDENCIES
    assert list(reverse) == sorted(reverse)


@pytest.mark.parametrize(
    "requirement",
    [
        "",
        "a b c",
        "x" * 300,
        "a; " + "(" * 5000 + "python_version > '3'" + ")" * 5000,
        "a\udc80b",
        "<script>",
    ],
    ids=["empty", "words", "long name", "nested marker", "surrogate", "html"],
)
def test_a_requirement_that_does_not_parse_is_counted(requirement: str) -> None:
    assert dependency_names(["six", requirement, "Six>=1"]) == (["six"], 1)


@given(st.lists(st.text(max_size=30)))
def test_no_requirement_is_fatal(requirements: list[str]) -> None:
    names, unparsable = dependency_names(requirements)
    assert names == sorted(set(names))
    assert unparsable + len(names) <= len(requirements)


def test_an_unreadable_document_is_named_in_the_log(
    make_mirror: MakeMirror, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datasets.write_extract(make_mirror(PACKAGES), directory)
    assert "the mirror's JSON of broken cannot be read" in caplog.text


@pytest.mark.parametrize("packages", [{}, {"broken": b"{"}], ids=["empty", "all unreadable"])
def test_a_mirror_without_documents_leaves_the_old_extract(
    make_mirror: MakeMirror, directory: Path, packages: dict[str, bytes]
) -> None:
    directory.mkdir(parents=True)
    (directory / "extract.tsv").write_text("old")
    with pytest.raises(MirrorError, match="can be read: check"):
        datasets.write_extract(make_mirror(packages), directory)
    assert [(path.name, path.read_text()) for path in directory.iterdir()] == [("extract.tsv", "old")]


def test_progress_of_a_long_extract_is_logged(
    make_mirror: MakeMirror, directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with caplog.at_level(logging.INFO):
        datasets.write_extract(make_mirror({"a": None, "b": None, "c": None}), directory)
    assert "documents read: 2" in caplog.text


def test_aura_dataset_holds_the_published_files_under_their_names(
    make_mirror: MakeMirror, directory: Path, stats_file: Path
) -> None:
    build_all(make_mirror(PACKAGES), directory, stats_file)
    with tarfile.open(directory / "public/aura_dataset.tgz") as archive:
        assert [(member.mtime, member.uid, member.gid, member.mode) for member in archive] == [(0, 0, 0, 0o644)] * 2
        members = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    assert members == {
        "reverse_dependencies.json": unzip(directory / "public/reverse_dependencies.gz"),
        "pypi_stats.json": unzip(directory / "public/pypi_download_stats.gz"),
    }


def test_without_statistics_there_is_no_download_dataset_and_an_empty_member(
    make_mirror: MakeMirror, directory: Path, stats_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = make_mirror(PACKAGES)
    build_all(mirror, directory, stats_file)
    summary = build_all(mirror, directory, None)  # removes what the first run made
    assert not [name for name in summary["checksums"]["files"] if "download_stats" in name]
    assert not list((directory / "public").glob("*download_stats*"))
    assert "run the DAG download_stats" in caplog.text
    with tarfile.open(directory / "public/aura_dataset.tgz") as archive:
        assert archive.getmember("pypi_stats.json").size == 0


def test_md5sum_accepts_the_checksums_and_notices_a_change(
    make_mirror: MakeMirror, directory: Path, stats_file: Path
) -> None:
    build_all(make_mirror(PACKAGES), directory, stats_file)
    public = datasets.public_directory(directory)
    (public / ".pypi_package_list.gz.left-over").write_bytes(b"of a killed run")
    datasets.write_checksums(directory)

    def md5sum() -> subprocess.CompletedProcess[str]:
        command = ["md5sum", "-c", "--strict", "md5_checksums.txt"]
        return subprocess.run(command, cwd=public, capture_output=True, text=True, check=False)

    checked = md5sum()
    assert (checked.returncode, checked.stderr) == (0, "")
    published = sorted(path.name for path in public.glob("[!.]*") if path.name != "md5_checksums.txt")
    assert checked.stdout == "".join(f"{name}: OK\n" for name in published)
    written = subprocess.run(["md5sum", *published], cwd=public, capture_output=True, check=True).stdout
    assert (public / "md5_checksums.txt").read_bytes() == written
    (public / "aura_dataset.tgz").write_bytes(b"changed")
    assert md5sum().returncode == 1


def test_the_same_mirror_gives_the_same_bytes(
    make_mirror: MakeMirror, tmp_path: Path, stats_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_mirror(PACKAGES)
    build_all(mirror, tmp_path / "one", stats_file)
    monkeypatch.setattr("time.time", lambda: 2e9)
    build_all(mirror, tmp_path / "two", stats_file)

    def content(directory: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (directory / "public").iterdir()}

    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_project_status_names_those_that_are_not_active(tmp_path: Path) -> None:
    statuses = ProjectStatuses(
        {
            "a": ProjectStatus(Status.QUARANTINED, "malware", 7),
            "b": ProjectStatus(Status.ACTIVE, "", 7),
            "c": ProjectStatus(Status.ARCHIVED, "", 7),
        }
    )
    assert datasets.write_project_status(tmp_path, statuses) == {"archived": 1, "deprecated": 0, "quarantined": 1}
    assert json.loads(unzip(tmp_path / "public/pypi_project_status.json.gz")) == {
        "a": {"status": "quarantined", "reason": "malware"},
        "c": {"status": "archived", "reason": ""},
    }
