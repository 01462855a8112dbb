"""What changed between two scans, told package by package."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pypi_scan.changes import write_changes
from pypi_scan.pack import PreviousScan

type Packages = dict[str, tuple[str, list[dict[str, Any]] | None]]


def found(kind: str, path: str = "x.py", line: int = 1, **more: Any) -> dict[str, Any]:
    """A detection of an AST pattern."""
    location = f"packages/ab/cd/{'0' * 60}/x-1.0.tar.gz${path}"
    return {
        "type": "ASTPattern",
        "slug": "astpattern",
        "severity": "high",
        "score": 50,
        "message": f"Found {kind}",
        "signature": f"ast_pattern#{kind}/{line}#{location}",
        "location": location,
        "line_no": line,
        **more,
    }


@pytest.fixture
def packed(make_scan: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Pack a scan of {package: (version, detections or None for a package without a record)}; returns its dataset."""

    def make(scan_id: str, packages: Packages, **options: Any) -> Path:
        for name in ("mirror", "scans"):
            if (tmp_path / name).exists():
                (tmp_path / name).rename(tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}")
        documents = {
            name: json.dumps(
                {
                    "info": {"name": name, "version": version},
                    "last_serial": 1,
                    "releases": {
                        version: [
                            {
                                "filename": f"{name}-{version}.tar.gz",
                                "url": f"https://files.example/packages/ab/cd/{name}-{version}.tar.gz",
                                "digests": {"sha256": "0" * 64},
                                "size": 1,
                                "upload_time_iso_8601": "2026-01-01T00:00:00.000000Z",
                            }
                        ]
                    },
                }
            ).encode()
            for name, (version, _) in packages.items()
        }
        scan = make_scan(documents, shards=2)
        for shard in scan.division.shard_ids:
            made = scan.results(shard)
            for record in made.records:
                record["detections"] = packages[record["pypi"]["name"]][1] or []
                record["score"] = sum(one["score"] for one in record["detections"])
            for status in made.statuses:
                status["score"] = sum(one["score"] for one in packages[status["name"]][1] or [])
            for status in list(made.statuses):
                if packages[status["name"]][1] is None:
                    made.fail(status["name"], "timeout")
            made.accept()
        scan.pack(**options)
        return Path(scan.directory / "dataset")

    return make


@pytest.fixture
def compared(packed: Callable[..., Path], read_zst: Callable[[Path], list[dict[str, Any]]]) -> Callable[..., Any]:
    """Pack two scans; returns the lines of what changed, and the dataset of the second."""

    def compare(before: Packages, now: Packages) -> tuple[list[dict[str, Any]], Path]:
        previous = packed("2026-10-01", before)
        previous.rename(previous.parent.parent.parent / "previous")
        previous = previous.parent.parent.parent / "previous"
        dataset = packed("2026-11-01", now, previous=PreviousScan("2026-10-01", previous))
        return read_zst(dataset / "changes.jsonl.zst"), dataset

    return compare


SAME: Packages = {"same": ("1.0", [found("exec")])}


def test_each_kind_of_change(compared: Callable[..., Any]) -> None:
    before: Packages = SAME | {
        "gone": ("1.0", [found("exec")]),
        "other-version": ("1.0", [found("exec"), found("eval")]),
        "other-findings": ("1.0", [found("exec")]),
        "quiet-version": ("1.0", [found("exec")]),
    }
    now: Packages = SAME | {
        "new": ("2.0", [found("socket")]),
        "other-version": ("1.1", [found("exec"), found("socket")]),
        "other-findings": ("1.0", []),
        "quiet-version": ("1.1", [found("exec")]),
    }
    changes, dataset = compared(before, now)
    told = {
        line["package"]: (
            line["change"],
            line["previous_version"],
            line["version"],
            [one["fingerprint"] for one in line["added"]],
            [one["fingerprint"] for one in line["removed"]],
        )
        for line in changes
    }
    assert told == {
        "gone": ("gone", "1.0", None, [], []),
        "new": ("new", None, "2.0", ["ast_pattern#socket"], []),
        "other-findings": ("detections", "1.0", "1.0", [], ["ast_pattern#exec"]),
        "other-version": ("version", "1.0", "1.1", ["ast_pattern#socket"], ["ast_pattern#eval"]),
        "quiet-version": ("version", "1.0", "1.1", [], []),
    }
    assert [line["package"] for line in changes] == sorted(told)
    assert changes[3]["added"] == [
        {
            "type": "ASTPattern",
            "fingerprint": "ast_pattern#socket",
            "message": "Found socket",
            "severity": "high",
            "score": 50.0,
        }
    ]
    assert (changes[3]["previous_score"], changes[3]["score"]) == (100, 100)
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    assert manifest["changes"] == {"since": "2026-10-01", "new": 1, "gone": 1, "version": 2, "detections": 1}
    assert {"changes.jsonl.zst", "changes.html"} <= {file["name"] for file in manifest["files"]}


def test_paths_lines_and_repetitions_are_no_change(compared: Callable[..., Any]) -> None:
    before: Packages = {"a": ("1.0", [found("exec", "a.py", 1)])}
    now: Packages = {"a": ("1.0", [found("exec", "b/c.py", 99), found("exec", "d.py", 3)])}
    assert compared(before, now)[0] == []


def test_a_scan_that_failed_tells_nothing_of_findings(compared: Callable[..., Any]) -> None:
    before: Packages = SAME | {"a": ("1.0", [found("exec")]), "b": ("1.0", None), "c": ("1.0", [found("exec")])}
    now: Packages = SAME | {"a": ("1.0", None), "b": ("1.0", [found("exec")]), "c": ("2.0", None)}
    (line,) = compared(before, now)[0]
    assert (line["package"], line["change"], line["added"], line["removed"]) == ("c", "version", [], [])
    assert (line["previous_score"], line["score"]) == (50, None)


def test_the_same_scans_give_the_same_bytes(compared: Callable[..., Any], tmp_path: Path) -> None:
    now: Packages = {f"p{number}": ("1.0", [found(f"kind{number}"), found("exec")]) for number in range(50)}
    _, dataset = compared(SAME, now)
    files = [dataset / "changes.jsonl.zst", dataset / "changes.html"]
    first = [path.read_bytes() for path in files]
    write_changes(tmp_path / "previous", "2026-10-01", dataset, dataset.parent.name)
    assert [path.read_bytes() for path in files] == first


class Tags(HTMLParser):
    """Collects the names of the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)


def test_the_page_shows_the_worst_first_and_escapes_what_packages_say(compared: Callable[..., Any]) -> None:
    hostile = "</li><script>alert(1)</script><img src=x onerror=alert(1)>"
    now: Packages = {
        "a": ("1.0", [found("minor", severity="low", score=1)]),
        "b": ("1.0", [found("some", score=10)]),
        "c": ("1.0", [found("worst", score=90, message=hostile)]),
    }
    page = (compared(SAME, now)[1] / "changes.html").read_text()
    assert page.index("<h2>c 1.0</h2>") < page.index("<h2>b 1.0</h2>")
    assert "<h2>a 1.0</h2>" not in page
    assert {"script", "img"}.isdisjoint(Tags(page).names)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
