"""Planning on all cores: the same plan, and no process that outlives it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pypi_scan import choosers
from pypi_scan.mirror import Mirror
from pypi_scan.plan import PlanError, plan_scan
from pypi_scan.scan_request import ScanRequest
from pypi_scan.shard import read_blocks

from .conftest import package_json

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
NAMES = [f"p{number:03}" for number in range(200)]
LATER = package_json("p000").replace(b"2026-01-01", b"2026-12-01")
MakeMirror = Callable[..., Mirror]


def on_cores(monkeypatch: pytest.MonkeyPatch, number: int, part: int) -> None:
    """Let so many processes plan, so many packages at a time."""
    monkeypatch.setattr("pypi_scan.plan.cores_for", lambda _: number)
    monkeypatch.setattr(choosers, "PART", part)


def test_a_plan_does_not_depend_on_the_number_of_processes(
    make_mirror: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {"p000": LATER, "p007": b"{", "p008": b'{"info": {"name": "x"}, "releases": {}}', "p199": b"\xff"}
    mirror = make_mirror({**dict.fromkeys(NAMES), **some})
    plans = {}
    for number, part in ((1, 1000), (1, 7), (2, 1000), (2, 7), (5, 1), (3, 100)):
        on_cores(monkeypatch, number, part)
        scans = tmp_path / f"{number}-{part}"
        plan = plan_scan(mirror, ScanRequest(AS_OF), scans, "run")
        files = {path.name: path.read_bytes() for path in (scans / plan.scan_id).iterdir()}
        assert files.keys() == {"plan.json", "input_packages.txt", "unscannable.jsonl", "releases.jsonl.zst"}
        plans[number, part] = files
    assert (plan.input, plan.planned) == (199, 196)
    assert [len(block) for block in read_blocks(scans / plan.scan_id / "releases.jsonl.zst")] == [3] * 65 + [1]
    assert all(files == plans[1, 1000] for files in plans.values())


DIES = f"""#!{sys.executable}
import os, signal, sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[-1]))
"""


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("sys.exit(3)", "exit code 3, see the log above"),
        ("connection.recv_bytes(); os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    ],
)
def test_a_process_that_dies_is_an_error_that_says_how(
    make_mirror: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, how: str
) -> None:
    program = tmp_path / "python"
    program.write_text(DIES + end)
    program.chmod(0o755)
    mirror = make_mirror(dict.fromkeys(NAMES))
    on_cores(monkeypatch, 2, 10)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(PlanError, match=rf"a process that reads the mirror's JSON died: {how}; .* clear the task plan"):
        plan_scan(mirror, ScanRequest(AS_OF), tmp_path / "scans", "run")
    assert not list((tmp_path / "scans").iterdir())


ONE_OF_MANY = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from pypi_scan import choosers
from pypi_scan.mirror import Mirror

choosers.PART = 1
mirror = Mirror(Path(sys.argv[1]))
parts = choosers.choose_all(mirror, mirror.package_names(), datetime(2026, 11, 1, tzinfo=UTC), 3)
print(next(parts).names)
if sys.argv[2] == "killed":
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
parts.close()
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("alone")
"""


@pytest.mark.parametrize(("how", "code", "said"), [("killed", -signal.SIGKILL, ""), ("closed", 0, "alone\n")])
def test_no_process_outlives_its_use(make_mirror: MakeMirror, how: str, code: int, said: str) -> None:
    large = package_json("large").replace(b'"version": "1.0"', b'"version": "1.0", "summary": "%s"' % (b"x" * 2**20))
    mirror = make_mirror(dict.fromkeys(NAMES[:9], large))  # more than a pipe holds: all wait until it is taken
    command = [sys.executable, "-c", ONE_OF_MANY, str(mirror.root), how]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=30, check=False)  # until all have closed their end
    assert (done.returncode, done.stdout.decode()) == (code, f"['p000']\n{said}")


@pytest.mark.parametrize(("packages", "processes"), [(1, 1), (4999, 1), (5000, 3), (700_000, 3)])
def test_only_large_plans_use_all_cores(monkeypatch: pytest.MonkeyPatch, packages: int, processes: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5})
    assert choosers.cores_for(packages) == processes
