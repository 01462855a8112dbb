import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import SCRIPTS, last_line


def test_describes_the_worker(run: Any) -> None:
    done = run("check_worker.py", requirements=SCRIPTS / "requirements.txt", min_free_gb=0.001)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"python", "cores", "memory_bytes", "free_bytes", "aura", "isolation"}
    assert found["aura"] == "2.1"
    assert found["python"].startswith("3.11.")
    assert found["python"] != platform.python_version()
    assert min(found["cores"], found["memory_bytes"], found["free_bytes"]) > 0


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("aura-security==2.0 \\\n    --hash=sha256:00\n", "aura-security is 2.1 instead of 2.0"),
        ("aura-security==2.1\nno-such-package==1\n", "no-such-package is not installed"),
        ("# nothing\n", "pins nothing"),
    ],
)
def test_other_environment_than_the_pinned_one(run: Any, tmp_path: Path, lines: str, complaint: str) -> None:
    (tmp_path / "requirements.txt").write_text(lines)
    done = run("check_worker.py", requirements=tmp_path / "requirements.txt")
    assert done.returncode == 1
    assert done.stdout == ""
    assert last_line(done).startswith("error: ")
    assert complaint in last_line(done)


def test_too_little_room(run: Any) -> None:
    done = run("check_worker.py", requirements=SCRIPTS / "requirements.txt", min_free_gb=10**9)
    assert done.returncode == 1
    assert "GiB are free, 1e+09 are needed" in last_line(done)


@pytest.mark.parametrize("program", ["prefetch.py", "scan_shard.py", "check_worker.py"])
def test_help(worker_python: Path, program: str) -> None:
    done = subprocess.run([worker_python, SCRIPTS / program, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
