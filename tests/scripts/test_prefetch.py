import fcntl
import functools
import hashlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pypi_scan import mirror as pypi_mirror
from pypi_scan.divide import divide_scan
from pypi_scan.plan import plan_scan
from pypi_scan.results import Scanner
from pypi_scan.scan_request import ScanRequest

from .conftest import Shard, command, last_line, sdist, wheel

FILES = {"left-1.0-py3-none-any.whl": wheel({"left.py": "x = 1\n"}), "left-1.0.tar.gz": sdist({"left.py": "x = 1\n"})}


class Mirror(ThreadingHTTPServer):
    """Serves a directory and remembers the paths it was asked for; breaks off `broken` of its first answers.

    Or gives them whole, with other bytes, if they are `garbled`.
    """

    def __init__(self, web: Path) -> None:
        self.asked: list[str] = []
        self.broken = 0
        self.garbled = False
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(web)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(SimpleHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.broken:
            self.server.broken -= 1
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"?" * 1000 if self.server.garbled else b"only this")
            self.close_connection = True
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(shard: Shard) -> Iterator[Mirror]:
    with Mirror(shard.web) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def missing(cache: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (cache / "missing.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["http", "path"])
def test_builds_the_tree_of_a_mirror(shard: Shard, mirror: Mirror, run: Any, tmp_path: Path, kind: str) -> None:
    left = shard.add("left", FILES)
    shard.add("empty", {})
    cache = tmp_path / "cache" / "0007"
    source = mirror.url if kind == "http" else shard.web
    done = run("prefetch.py", shard=shard.write(), source=source, cache=cache, jobs=2)
    assert done.returncode == 0, done.stderr
    made = tree(cache)
    assert json.loads(made.pop("web/json/left")) == left["json"]
    assert made.pop("web/json/empty")
    assert made.pop("missing.jsonl") == made.pop(".lock") == b""
    assert made == {f"web/{path}": data for path, data in tree(shard.web).items()}


def test_second_run_fetches_nothing(shard: Shard, mirror: Mirror, run: Any, tmp_path: Path) -> None:
    shard.add("left", FILES)
    run("prefetch.py", shard=shard.write(), source=mirror.url, cache=tmp_path / "cache" / "0007")
    assert len(mirror.asked) == 2
    before = tree(tmp_path / "cache")
    done = run("prefetch.py", shard=shard.file, source=mirror.url, cache=tmp_path / "cache" / "0007")
    assert done.returncode == 0, done.stderr
    assert len(mirror.asked) == 2
    assert tree(tmp_path / "cache") == before


def test_damaged_file_in_the_cache_is_fetched_again(shard: Shard, mirror: Mirror, run: Any, tmp_path: Path) -> None:
    left = shard.add("left", FILES)
    cache = tmp_path / "cache" / "0007"
    run("prefetch.py", shard=shard.write(), source=mirror.url, cache=cache)
    damaged = cache / "web" / left["files"][0]["path"]
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1] + b"?")
    run("prefetch.py", shard=shard.file, source=mirror.url, cache=cache)
    assert damaged.read_bytes() == good
    assert len(mirror.asked) == 3


@pytest.mark.parametrize("garbled", [False, True])
def test_what_does_not_come_whole_is_asked_for_again(
    shard: Shard, mirror: Mirror, run: Any, tmp_path: Path, garbled: bool
) -> None:
    shard.add("left", {"left-1.0.zip": b"x" * 1000})
    mirror.broken, mirror.garbled = 2, garbled
    done = run("prefetch.py", shard=shard.write(), source=mirror.url, cache=tmp_path / "cache" / "0007")
    assert done.returncode == 0, done.stderr
    assert missing(tmp_path / "cache" / "0007") == []
    assert len(mirror.asked) == 3


def test_what_cannot_be_had_is_recorded(shard: Shard, mirror: Mirror, run: Any, tmp_path: Path) -> None:
    shard.add("good", {"good-1.0.zip": b"good"})
    gone = shard.add("gone", {"gone-1.0.zip": b"gone"})["files"][0]
    changed = shard.add("changed", {"changed-1.0.zip": b"as it was"})["files"][0]
    longer = shard.add("longer", {"longer-1.0.zip": b"short"})["files"][0]
    (shard.web / gone["path"]).unlink()
    (shard.web / changed["path"]).write_bytes(b"as it is!")
    (shard.web / longer["path"]).write_bytes(b"short" * 1000)
    cache = tmp_path / "cache" / "0007"
    done = run("prefetch.py", shard=shard.write(), source=mirror.url, cache=cache)
    assert done.returncode == 0, done.stderr
    found = missing(cache)
    assert found == sorted(found, key=lambda entry: entry["path"])
    reasons = {entry["name"]: entry["reason"] for entry in found}
    assert reasons == {
        "gone": "HTTP status 404",
        "changed": f"sha256 is {hashlib.sha256(b'as it is!').hexdigest()}, not {changed['sha256']}",
        "longer": "longer than the 5 bytes it should have",
    }
    assert sorted(path.name for path in (cache / "web" / "packages").rglob("*.*")) == ["good-1.0.zip"]
    assert not list(cache.rglob("*.part"))


def test_a_former_release_that_the_mirror_does_not_hold_is_a_missing_file(
    shard: Shard, mirror: Mirror, run: Any, tmp_path: Path
) -> None:
    for name in ("kept", "pruned"):
        releases = {}
        for version, uploaded in (("1.0", "2025-01-01T00:00:00Z"), ("2.0", "2026-01-01T00:00:00Z")):
            filename = f"{name}-{version}-py3-none-any.whl"
            (file,) = shard.add(name, {filename: wheel({"x.py": f"x = {version}\n"})})["files"]
            entry = {"filename": filename, "url": f"/{file['path']}", "digests": {"sha256": file["sha256"]}}
            releases[version] = [{**entry, "size": file["size"], "upload_time_iso_8601": uploaded}]
        document = shard.web / "json" / name
        document.parent.mkdir(exist_ok=True)
        document.write_text(json.dumps({"info": {"name": name}, "releases": releases}))
    (shard.web / releases["1.0"][0]["url"].lstrip("/")).unlink()
    request = ScanRequest(datetime(2025, 6, 1, tzinfo=UTC))
    plan = plan_scan(pypi_mirror.Mirror(shard.web.parent), request, tmp_path / "scans", "run")
    divide_scan(tmp_path / "scans" / plan.scan_id, Scanner("aura-security", "2.1", "3.11", {}), records=None)
    planned = tmp_path / "scans" / plan.scan_id / "shards" / "0001.jsonl.zst"
    cache, output = tmp_path / "cache" / "0001", tmp_path / "output"
    assert run("prefetch.py", shard=planned, source=mirror.url, cache=cache).returncode == 0
    assert [(entry["name"], entry["reason"]) for entry in missing(cache)] == [("pruned", "HTTP status 404")]
    assert run("scan_shard.py", shard=planned, cache=cache, output=output).returncode == 0
    lines = map(json.loads, (output / "status.jsonl").read_text().splitlines())
    assert [(line["name"], line["version"], line["status"]) for line in lines] == [
        ("kept", "1.0", "ok"),
        ("pruned", "1.0", "missing_file"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "../outside.zip",
        "/etc/passwd",
        "simple/a/b.zip",
        "packages/../../outside.zip",
        "packages/a//b.zip",
        "packages/a\nb.zip",
        "packages/a\N{RIGHT-TO-LEFT OVERRIDE}b.zip",
        "packages",
    ],
)
def test_paths_that_leave_the_tree_are_refused(shard: Shard, run: Any, tmp_path: Path, path: str) -> None:
    shard.add("good", {"good-1.0.zip": b"good"})
    shard.add("bad", {"bad-1.0.zip": b"bad"})["files"][0]["path"] = path
    (tmp_path / "outside.zip").write_bytes(b"bad")
    cache = tmp_path / "cache" / "0007"
    done = run("prefetch.py", shard=shard.write(), source=shard.web, cache=cache)
    assert done.returncode == 0, done.stderr
    assert [(entry["path"], entry["name"]) for entry in missing(cache)] == [(path, "bad")]
    assert missing(cache)[0]["reason"].startswith("refused: ")
    assert [p.name for p in cache.rglob("*") if p.is_file() and "packages" in p.parts] == ["good-1.0.zip"]


@pytest.mark.parametrize("name", ["../bad", "Bad", "a_b", "a--b", ".", "-", "a" * 251])
def test_names_that_are_not_canonical_are_refused(shard: Shard, run: Any, tmp_path: Path, name: str) -> None:
    shard.add("good", {"good-1.0.zip": b"good"})
    shard.add(name, {"bad-1.0.zip": b"bad"})
    cache = tmp_path / "cache" / "0007"
    done = run("prefetch.py", shard=shard.write(), source=shard.web, cache=cache)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (cache / "web" / "json").iterdir()] == ["good"]


def test_no_room(shard: Shard, run: Any, tmp_path: Path) -> None:
    shard.add("left", FILES)["files"][0]["size"] = 10**18
    done = run("prefetch.py", shard=shard.write(), source=shard.web, cache=tmp_path / "cache" / "0007")
    assert done.returncode == 73
    assert last_line(done).startswith("error: no room: ")
    assert not (tmp_path / "cache" / "0007" / "web").exists()


@pytest.mark.parametrize(
    ("packages", "error"),
    [
        (2, "error: not one of 2 files could be had from the source (no answer: "),
        (25, "error: the source does not answer: 20 files in a row could not be had (no answer: "),
    ],
)
def test_source_that_does_not_answer(shard: Shard, run: Any, tmp_path: Path, packages: int, error: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for number in range(packages):
            shard.add(f"p{number}", {f"p{number}-1.0.zip": b"%d" % number})
        done = run("prefetch.py", shard=shard.write(), source=url, cache=tmp_path / "cache" / "0007")
    assert done.returncode == 1
    assert last_line(done).startswith(error)
    assert not (tmp_path / "cache" / "0007" / "missing.jsonl").exists()


def test_source_that_is_no_mirror(shard: Shard, mirror: Mirror, run: Any, tmp_path: Path) -> None:
    for number in range(20):
        shard.add(f"p{number}", {f"p{number}-1.0.zip": b"%d" % number})
    url = f"{mirror.url}nowhere"
    done = run("prefetch.py", shard=shard.write(), source=url, cache=tmp_path / "cache" / "0007")
    assert done.returncode == 1
    assert last_line(done).startswith("error: not one of 20 files could be had from the source (HTTP status 404)")


def test_source_path_that_is_not_there(shard: Shard, run: Any, tmp_path: Path) -> None:
    done = run("prefetch.py", shard=shard.write(), source=tmp_path / "no", cache=tmp_path / "cache" / "0007")
    assert done.returncode == 1
    assert last_line(done).startswith("error: the source ")


def test_shard_that_cannot_be_read(run: Any, tmp_path: Path) -> None:
    (tmp_path / "0007.jsonl.zst").write_bytes(b"nothing of the kind")
    done = run("prefetch.py", shard=tmp_path / "0007.jsonl.zst", source=tmp_path, cache=tmp_path / "cache" / "0007")
    assert done.returncode == 1
    assert last_line(done).startswith("error: the shard ")


def test_a_second_prefetch_of_a_shard_waits_for_the_first(
    shard: Shard, mirror: Mirror, worker_python: Path, tmp_path: Path
) -> None:
    shard.add("left", FILES)
    cache = tmp_path / "cache" / "0007"
    cache.mkdir(parents=True)
    start = command(worker_python, "prefetch.py", shard=shard.write(), source=mirror.url, cache=cache)
    with (cache / ".lock").open("wb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        process = subprocess.Popen(start, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting: another run works in" in process.stderr.readline()
        assert mirror.asked == []
    with process:
        assert process.wait(timeout=30) == 0
    assert len(mirror.asked) == 2
