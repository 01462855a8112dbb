"""What fails in the scanner is reported, and everything else is found all the same."""

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import Shard, sdist, wheel
from .patched_scan import scan_with
from .test_scan_shard import records, statuses

WHEEL = "-1.0-py3-none-any.whl"
DIST_INFO = {"x-1.0.dist-info/WHEEL": "", "x-1.0.dist-info/METADATA": ""}
# Each of these sources ended the scan of its package: who fails, and with what.
SOURCES = {
    "ord": ("ord()\nchr()\n", "ast.rewrite", "IndexError"),
    "percent": ("a = '%z' % 'a'\n", "ast.rewrite", "ValueError"),
    "step": ("a = 'abc'[::0]\n", "ast.rewrite", "ValueError"),
    "hex": ("a = 'a'.decode('hex')\n", "ast.rewrite", "Error"),
    "ascii": ("a = '\\xff'.decode('ascii')\n", "ast.rewrite", "UnicodeDecodeError"),
    "repeat": ("a = 'x{99999999999999}|y*'\n", "misc", "OverflowError"),
}
# Python sources that say nothing wrong and that were not read to the end, or not at all.
READABLE = {
    "long-module-name": f"from . import {'a' * 300}\n".encode(),
    "byte-order-mark": b"\xef\xbb\xbfx = 1\n",
    "latin-1": b"# coding: latin-1\nx = eval('caf\xe9')\n",
    "unknown-coding": b"# coding: no-such-thing\n",
    "long-number": b"x = 1" + b"0" * 4200 + b"\ny = 0x" + b"f" * 10_000 + b"\nx.y()\ny.k()\n",
}
HOW = {"fast": (), "stock": ("--stock",)}  # with Aura made faster, and as it is
METADATA: dict[str, dict[str, Any]] = {
    "urls-list": {"project_urls": ["not a mapping"]},
    "bad-homepage": {"home_page": "http://[::"},
}
FILES: dict[str, dict[str, str | bytes]] = {
    "requirements": {"requirements.txt": b"# coding: no-such-thing\n\x80\n"},
    "wheel-record": {**DIST_INFO, "x-1.0.dist-info/RECORD": "x.py,sha256=x\n.,sha256=x\n", "x.py": ""},
}


def failures(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [detection for detection in record["detections"] if detection["type"] == "AnalysisError"]


def fill(shard: Shard) -> None:
    for name, (source, *_) in SOURCES.items():
        files = {"odd.py": f"import pickle\n{source}import ctypes\nos.system('x')\n", "other.py": "import socket\n"}
        shard.add(name, {f"{name}-1.0.tar.gz": sdist(files)})
    for name, content in READABLE.items():
        files = {"odd.py": content + b"import pickle\neval('1')\n", "other.py": "import socket\n"}
        shard.add(name, {f"{name}-1.0.tar.gz": sdist(files)})
    for name, info in METADATA.items():
        shard.add(name, {f"{name}{WHEEL}": wheel({"other.py": f"import socket\n# {name}\n"})}, **info)
    for name, more in FILES.items():
        shard.add(name, {f"{name}{WHEEL}": wheel({**more, "other.py": "import socket\n"})})


@dataclass(frozen=True)
class Scanned:
    """A shard and what a scan of it has left; `how` is a key of HOW."""

    how: str
    shard: Shard
    output: Path
    statuses: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=["fast", "stock"])
def scanned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_python: Path) -> Scanned:
    """All of the above."""
    directory = tmp_path_factory.mktemp(request.param)
    shard = Shard(directory)
    fill(shard)
    output = directory / "output"
    done = scan_with(worker_python, "", *HOW[request.param], **options(shard), output=output)
    assert done.returncode == 0, done.stderr
    by_name = {record["pypi"]["name"]: record for record in records(output)}
    return Scanned(request.param, shard, output, statuses(output), by_name)


def options(shard: Shard) -> dict[str, Path]:
    return {"shard": shard.write(), "cache": shard.web.parent}


def test_every_package_has_a_whole_record(scanned: Scanned) -> None:
    assert scanned.statuses.keys() == {*SOURCES, *READABLE, *METADATA, *FILES}
    assert {(status["status"], status["record"]) for status in scanned.statuses.values()} == {("ok", True)}
    for name, record in scanned.records.items():
        assert "socket" in record["imported_modules"], name
        if name in SOURCES:
            assert {"ctypes", "pickle"} <= set(record["imported_modules"]), name
            assert "os.system" in {d.get("extra", {}).get("function") for d in record["detections"]}, name


def test_what_failed_is_reported_once(scanned: Scanned) -> None:
    for name, (_, analyzer, kind) in SOURCES.items():
        (detection,) = [d for d in failures(scanned.records[name]) if d["extra"]["analyzer"] == analyzer]
        path = scanned.records[name]["pypi"]["files"][0]["path"]
        assert detection["location"] == f"{path}$odd.py"
        assert detection["extra"]["exc_type"] == kind
        assert 0 < len(detection["extra"]["exc_message"]) <= 200
        assert detection["message"] == f"The analyzer '{analyzer}' failed"
        assert detection["score"] == 0
        assert "unpacked0" not in json.dumps(detection)
    for name, analyzer in (("requirements", "req_analyzer"), ("wheel-record", "wheel")):
        assert [d["extra"]["analyzer"] for d in failures(scanned.records[name])] == [analyzer]
    for name in METADATA:
        (detection,) = failures(scanned.records[name])
        assert detection["extra"]["analyzer"] == "package_enrichment"
        assert detection["location"] == scanned.records[name]["pypi"]["files"][0]["path"]


def test_sources_are_read_as_python_reads_them(scanned: Scanned) -> None:
    for name in READABLE:
        assert "pickle" in scanned.records[name]["imported_modules"], name
        assert "ASTParseError" not in {d["type"] for d in scanned.records[name]["detections"]}
    lines = [d.get("line") for d in scanned.records["latin-1"]["detections"]]
    assert "x = eval('caf\xe9')" in lines


def test_same_failures_give_the_same_bytes(scanned: Scanned, tmp_path: Path, worker_python: Path) -> None:
    scanned.shard.packages.reverse()
    how = HOW[scanned.how]
    done = scan_with(worker_python, "", *how, **options(scanned.shard), output=tmp_path / "out", jobs=1)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "records.jsonl.zst").read_bytes() == (scanned.output / "records.jsonl.zst").read_bytes()


def test_ordinary_code_fails_nowhere(shard: Shard, run: Any, tmp_path: Path) -> None:
    library = Path(json.__file__).parent
    files = {f"x-1.0/{path.name}": path.read_bytes() for path in sorted(library.glob("*.py"))}
    shard.add("x", {"x-1.0.tar.gz": sdist({**files, "x-1.0/tarfile.py": (library.parent / "tarfile.py").read_bytes()})})
    assert run("scan_shard.py", **options(shard), output=tmp_path / "out").returncode == 0
    (record,) = records(tmp_path / "out")
    assert len(record["detections"]) > 20
    assert failures(record) == []


FAIL = """
import aura_engine, errno, unpack
analyze = unpack.analyze
def fail(*, location):
    name = location.location.name.partition("-")[0]
    errors = {
        "memory": MemoryError("so much"),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "nomem": OSError(errno.ENOMEM, "Cannot allocate memory"),
        "stopped": KeyboardInterrupt(),
        "text": ValueError(f"<object at {hex(id(location))}> in {location.location}\\n" + "x" * 1000),
    }
    if location.parent is None and name in errors:
        raise errors[name]
    yield from analyze(location=location)
unpack.analyze = fail
"""


def test_what_ends_a_scan_and_what_does_not(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    for name in ("memory", "nomem", "disk", "stopped", "text", "well"):
        shard.add(name, {f"{name}{WHEEL}": wheel({"a.py": f"# {name}\n"})})
    output = tmp_path / "output"
    done = scan_with(worker_python, FAIL, **options(shard), output=output)
    assert done.returncode == 0, done.stderr
    assert {name: (status["status"], status["record"]) for name, status in statuses(output).items()} == {
        "memory": ("memory", False),
        "nomem": ("memory", False),
        "disk": ("too_large", False),
        "stopped": ("crash", False),
        "text": ("ok", True),
        "well": ("ok", True),
    }
    (detection,) = failures(records(output)[0])
    assert detection["extra"]["analyzer"] == "archive"
    assert len(detection["extra"]["exc_message"]) == 200
    assert re.fullmatch(r"<object at 0x> in text-1\.0-py3-none-any\.whl x+", detection["extra"]["exc_message"])
    assert "No space left on device" in statuses(output)["disk"]["reason"]


def test_a_file_that_libmagic_fails_on(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    shard.add("x", {f"x{WHEEL}": wheel({"odd.bin": "\0", "other.py": "import socket\n"})})
    fail = """
import aura_engine, magic
from_file = magic.from_file
def fail(filename, mime=False):
    if filename.endswith("odd.bin"):
        raise magic.MagicException("out of regular expressions")
    return from_file(filename, mime=mime)
magic.from_file = fail
"""
    done = scan_with(worker_python, fail, **options(shard), output=tmp_path / "output")
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    (detection,) = failures(record)
    assert detection["location"] == f"{record['pypi']['files'][0]['path']}$odd.bin"
    assert detection["extra"]["analyzer"] == "magic"
    assert record["imported_modules"] == ["socket"]


def test_a_child_that_dies_is_a_crash(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    for name in ("dies", "lives"):
        shard.add(name, {f"{name}{WHEEL}": wheel({"a.py": f"# {name}\n"})})
    die = """
import aura_engine, os, signal, unpack
analyze = unpack.analyze
def die(*, location):
    if location.location.name.startswith("dies"):
        os.kill(os.getpid(), signal.SIGSEGV)
    yield from analyze(location=location)
unpack.analyze = die
"""
    output = tmp_path / "output"
    done = scan_with(worker_python, die, **options(shard), output=output)
    assert done.returncode == 0, done.stderr
    found = statuses(output)
    assert (found["dies"]["status"], found["dies"]["reason"]) == ("crash", "died of SIGSEGV")
    assert found["lives"]["status"] == "ok"


def test_files_of_the_machine_stay_unread(shard: Shard, run: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.html"
    secret.write_text("{{ x|safe }}\n")
    record = f"{secret},sha256=x\n/dev/zero,sha256=x\n{'../' * 20}dev/zero,sha256=x\n\nno.py,sha256=x\n"
    source = f"import flask\nflask.render_template('{secret}', x=1)\nflask.render_template('/dev/zero')\n"
    shard.add("x", {f"x{WHEEL}": wheel({**DIST_INFO, "x-1.0.dist-info/RECORD": record, "x.py": source})})
    done = run("scan_shard.py", **options(shard), output=tmp_path / "out", timeout=20)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "out")["x"]["status"] == "ok"
    (found,) = records(tmp_path / "out")
    listed = [d["extra"]["record"] for d in found["detections"] if "wheel_missing_file" in d.get("tags", ())]
    assert sorted(listed) == sorted([str(secret)[1:], "dev/zero", "dev/zero", "no.py"])
    assert not [d for d in found["detections"] if "real_checksum" in d.get("extra", {})]
    assert failures(found) == []


def test_no_connection_can_be_made(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    shard.add("x", {f"x{WHEEL}": wheel({"a.py": "import socket\n"})})
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        connect = f"""
import aura_engine, socket, unpack
def connect(*, location):
    socket.create_connection({server.getsockname()}, timeout=5).close()
    yield
unpack.analyze = connect
"""
        output = tmp_path / "output"
        done = scan_with(worker_python, connect, **options(shard), output=output)
        assert done.returncode == 0, done.stderr
        with pytest.raises(BlockingIOError):
            server.accept()
    (detection,) = failures(records(output)[0])
    assert detection["extra"]["exc_type"] in ("OSError", "PermissionError")


FAIL_ONCE = """
import aura_engine, errno, os, signal, unpack
from pathlib import Path
analyze = unpack.analyze
scan_shard.isolation.confine = lambda *arguments: None
def fail_once(*, location):
    name = location.location.name.partition("-")[0]
    tried = Path(OUTPUT, f"{name}.tried")
    if location.parent is None and name in ("killed", "full") and not tried.exists():
        tried.touch()
        if name == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        os.kill(os.getpid(), signal.SIGKILL)
    yield from analyze(location=location)
unpack.analyze = fail_once
"""


def test_a_package_that_this_machine_failed_is_scanned_once_more(
    shard: Shard, worker_python: Path, tmp_path: Path
) -> None:
    for name in ("full", "killed", "well"):
        shard.add(name, {f"{name}{WHEEL}": wheel({"a.py": f"# {name}\n"})})
    (tmp_path / "tried").mkdir()
    fail = FAIL_ONCE.replace("OUTPUT", repr(str(tmp_path / "tried")))
    done = scan_with(worker_python, fail, **options(shard), output=tmp_path / "output")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "tried").iterdir())) == 2
    assert {status["status"] for status in statuses(tmp_path / "output").values()} == {"ok"}


def test_a_full_disk_is_no_fault_of_a_package(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    for name in ("disk", "well"):
        shard.add(name, {f"{name}{WHEEL}": wheel({"a.py": f"# {name}\n"})})
    full = FAIL + "scan_shard.ROOM = 2**63\n"
    done = scan_with(worker_python, full, **options(shard), output=tmp_path / "output")
    assert done.returncode == 73
    assert "error: the disk is full, " in done.stderr
    done = scan_with(worker_python, "", **options(shard), output=tmp_path / "output")
    assert done.returncode == 0, done.stderr
    assert {status["status"] for status in statuses(tmp_path / "output").values()} == {"ok"}
