"""Known packages: what is said of them without their files makes, with their old record, the record of a full scan."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard

from demo.upstream.build import build_upstream
from demo.upstream.tree import ORIGIN, Tree

from .conftest import Shard, last_line, sdist
from .test_records import evaluate
from .test_scan_shard import records, rows, statuses

KEY = "0123456789abcdef" * 4
OF_PACKAGE = ("PackageInformation", "Typosquatting")


def canonical(value: object) -> str:
    """Return a value as a line of the dataset has it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def merged(stored: dict[str, Any], of_package: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record that a full scan makes now of the record of an earlier one."""
    of_files = [detection for detection in stored["detections"] if detection["type"] not in OF_PACKAGE]
    detections = sorted([*of_files, *of_package], key=canonical)
    tags = sorted({tag for detection in detections for tag in detection.get("tags", ())}, key=canonical)
    return {**stored, "detections": detections, "tags": tags}


def dataset(directory: Path, downloads: dict[str, int], dependents: dict[str, list[str]]) -> Path:
    """Write an aura_dataset, unpacked; `downloads` in falling order."""
    directory.mkdir()
    lines = [json.dumps({"package_name": name, "downloads": count}) + "\n" for name, count in downloads.items()]
    (directory / "pypi_stats.json").write_text("".join(lines))
    (directory / "reverse_dependencies.json").write_text(json.dumps(dependents))
    return directory


def known_lines(output: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of known.jsonl by name, in the order of the file."""
    text = (output / "known.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert text == "".join(f"{canonical(line)}\n" for line in lines)
    return {line["name"]: line for line in lines}


@pytest.fixture
def scan(shard: Shard, run: Any) -> Any:
    """Scan the shard into a directory, with the mirror itself as the cache."""

    def scan(output: Path, **options: object) -> subprocess.CompletedProcess[str]:
        given = {"shard": shard.write(), "cache": shard.web.parent, "output": output, **options}
        done: subprocess.CompletedProcess[str] = run("scan_shard.py", **given)
        return done

    return scan


def add_demo_packages(shard: Shard, directory: Path) -> None:
    """Add the newest release of each of the demo's own packages."""
    build_upstream(directory / "upstream", directory / "real", real_packages=False)
    tree = Tree(directory / "upstream" / "web")
    for name in tree.serials():
        document = tree.read_document(name)
        files = {
            file["filename"]: (tree.root / file["url"].removeprefix(f"{ORIGIN}/")).read_bytes()
            for file in document["urls"]
        }
        info = {key: value for key, value in document["info"].items() if key not in ("name", "version")}
        shard.add(tree.document_path(name).parent.name, files, document["info"]["version"], **info)


def test_old_record_and_package_make_the_record_of_a_full_scan(shard: Shard, scan: Any, tmp_path: Path) -> None:
    add_demo_packages(shard, tmp_path)
    secret = "zw8qlp3vt6yb1nxc"  # which could be the name of a package
    leaking = sdist({"x-1.0/x.py": f'password = "{secret}"\n'})
    shard.add("demo-crossed", {"x-1.0.tar.gz": leaking}, home_page=f"https://example.org/{secret}")
    shard.add("demo-odd", {"odd-1.0.tar.gz": leaking + b" "}, project_urls=["not a mapping"])
    one = dataset(
        tmp_path / "one",
        {"requests": 9_000_000, "demo-cachet": 60_000, "demo-cli": 50_000, "demo-text": 10, "demo-graph": 3},
        {"demo-cache": ["demo-cli", "demo-text"], "demo-crossed": ["a"]},
    )
    other = dataset(
        tmp_path / "other",
        {"demo-cache": 800_000, "demo-ext": 70_000, "demo-odds": 20_000, "demo-cli": 900, "requests": 5},
        {"demo-cache": ["demo-cli"], "demo-table": ["demo-unicode"], "demo-crossed": ["a", secret]},
    )
    key = tmp_path / "redaction.key"
    key.write_text(KEY)
    for output, given in (("first", one), ("second", other)):
        done = scan(tmp_path / output, dataset=given, redaction_key=key)
        assert done.returncode == 0, done.stderr
    stored = {record["pypi"]["name"]: record for record in records(tmp_path / "first")}
    expected = {record["pypi"]["name"]: record for record in records(tmp_path / "second")}
    ok = [name for name, status in statuses(tmp_path / "first").items() if status["status"] == "ok"]
    assert len(ok) > 25
    for package in shard.packages:
        package.update({"known": True, "cost": 0.1} if package["name"] in ok else {})

    done = scan(tmp_path / "again", dataset=other, redaction_key=key)
    assert done.returncode == 0, done.stderr
    known = known_lines(tmp_path / "again")
    assert list(known) == sorted(ok)
    made = {name: merged(stored[name], line["detections"]) for name, line in known.items()}
    made |= {record["pypi"]["name"]: record for record in records(tmp_path / "again")}
    assert {name: canonical(record) for name, record in made.items()} == {
        name: canonical(record) for name, record in expected.items()
    }
    changed = {name for name in ok if canonical(made[name]) != canonical(stored[name])}
    assert {"reqeusts", "demo-cache", "demo-text", "demo-table", "demo-crossed", "demo-odd"} <= changed
    assert {detection["type"] for line in known.values() for detection in line["detections"]} == set(OF_PACKAGE)


def three_packages(shard: Shard) -> Shard:
    """Two known packages, whose files nobody has any more, around one that is not."""
    for name in ("alike", "between", "other"):
        line = shard.add(name, {f"{name}-1.0.tar.gz": sdist({"m.py": f"import os\nos.system('{name}')\n"})})
        if name != "between":
            line["known"] = True
            (shard.web / line["files"][0]["path"]).unlink()
    return shard


def test_no_file_of_a_known_package_is_fetched_or_scanned(shard: Shard, run: Any, tmp_path: Path) -> None:
    three_packages(shard)
    cache, output = tmp_path / "cache" / "0007", tmp_path / "output"
    done = run("prefetch.py", shard=shard.write(), source=shard.web, cache=cache)
    assert done.returncode == 0, done.stderr
    assert (cache / "missing.jsonl").read_text() == ""
    assert [path.name for path in (cache / "web").rglob("*") if path.is_file()] == ["between", "between-1.0.tar.gz"]
    done = run("scan_shard.py", shard=shard.file, cache=cache, output=output)
    assert done.returncode == 0, done.stderr
    assert list(statuses(output)) == [record["pypi"]["name"] for record in records(output)] == ["between"]
    assert [row[-1] for row in rows(output)] == ["scan between"]
    lines = known_lines(output)
    assert list(lines) == ["alike", "other"]
    assert [detection["type"] for detection in lines["other"]["detections"]] == ["PackageInformation"]


def test_a_known_package_of_which_nothing_can_be_said_says_why(shard: Shard, scan: Any, tmp_path: Path) -> None:
    three_packages(shard).packages[0]["json"]["releases"] = ["not a mapping"]
    shard.packages[2]["files"][0]["path"] = "packages/../../other.tar.gz"
    done = scan(tmp_path / "output")
    assert done.returncode == 0, done.stderr
    assert list(statuses(tmp_path / "output")) == ["between"]
    lines = known_lines(tmp_path / "output")
    assert [line["detections"] for line in lines.values()] == [None, None]
    assert lines["alike"]["reason"].startswith("AttributeError in mirror_view.py:")
    assert lines["other"]["reason"].startswith("a release file is refused: ")


def test_frames_end_with_their_block(shard: Shard, scan: Any, tmp_path: Path) -> None:
    for number, block in enumerate((0, 0, 1, 1, 3)):
        name = f"p{number}"
        shard.add(name, {f"{name}-1.0.tar.gz": sdist({"m.py": f"x = {number}\n"})})["block"] = block
    shard.packages[3]["known"] = True
    done = scan(tmp_path / "output")
    assert done.returncode == 0, done.stderr
    data, frames = (tmp_path / "output" / "records.jsonl.zst").read_bytes(), []
    while data:
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        lines = decompressor.decompress(data).splitlines()
        frames.append([json.loads(line)["pypi"]["name"] for line in lines])
        data = decompressor.unused_data
    assert frames == [["p0", "p1"], ["p2"], ["p4"]]


@pytest.mark.parametrize("change", [{"block": "0"}, {"cost": -1}, {"cost": "1"}, {"known": 1}])
def test_a_mark_that_is_none_is_refused(shard: Shard, scan: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    three_packages(shard).packages[1].update(change)
    done = scan(tmp_path / "output")
    assert done.returncode == 1
    assert last_line(done).startswith("error: the shard ")


def test_the_scanner_is_described_as_a_scan_has_it(shard: Shard, scan: Any, run: Any, tmp_path: Path) -> None:
    key = tmp_path / "redaction.key"
    key.write_text(KEY)
    settings = {"timeout": 60, "cpu": 50, "memory": 2048, "redaction_key": key}
    assert scan(tmp_path / "output", **settings).returncode == 0
    scanner = json.loads((tmp_path / "output" / "scanner.json").read_text())
    assert scanner.pop("datasets") == {}
    done = run("describe_scanner.py", **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{canonical(scanner)}\n"
    given = run("describe_scanner.py", timeout=900, cpu=1800, memory=4096)
    assert run("describe_scanner.py").stdout == given.stdout
    assert json.loads(given.stdout)["settings"]["secrets"] == "kept"


def test_another_script_is_another_scanner(worker_python: Path, tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    (scripts / "__pycache__").mkdir(parents=True)
    (scripts / "rules.yaml").write_text("a")
    source = f"""
from pathlib import Path
scripts = Path({str(scripts)!r})
digests = [scanner_identity.scripts_digest(scripts)]
(scripts / "__pycache__" / "rules.pyc").write_text("compiled")
digests.append(scanner_identity.scripts_digest(scripts))
(scripts / "rules.yaml").write_text("b")
digests.append(scanner_identity.scripts_digest(scripts))
(scripts / "rules.yaml").rename(scripts / "other.yaml")
digests.append(scanner_identity.scripts_digest(scripts))
print(json.dumps(digests))
"""
    digests = evaluate(worker_python, "scanner_identity", source)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
