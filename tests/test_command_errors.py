"""A command that cannot do what it is asked says what, why and what to do, in a sentence and not in a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def of_control(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["make", "soak", "MINUTES=soon"], "MINUTES=soon is no whole number above 0; write for example: make soak"),
        (["make", "fuzz", "MINUTES=0"], "MINUTES=0 is no whole number above 0"),
        (["tools/lock.sh"], "usage: tools/lock.sh UV DIRECTORY"),
        (["tools/check_generated.sh"], "usage: tools/check_generated.sh UV"),
        (["tools/check_headers.sh"], "usage: tools/check_headers.sh UV"),
        (of_control("-m", "demo", "run", "--workers", "0"), "invalid choice: 0 (choose from 1, 2"),
        (of_control("-m", "demo", "run", "--directory", "README.md"), "name another place with --directory"),
        (of_control("bench/reuse.py", "--corpus", "none"), "none cannot be read"),
        (of_control("bench/reuse.py", "--corpus", "README.md"), "is not name==version"),
        (of_control("bench/datasets_bench.py", "--packages", "0"), "'0' is not a whole number above 0"),
        (of_control("bench/simulate.py", "--packages", "many"), "'many' is not a whole number above 0"),
        (of_control("bench/pack_bench.py", "--gb", "-1"), "'-1' is not a number above 0"),
        (of_control("tools/reference.py"), "the following arguments are required: file"),
        (of_control("-m", "pypi_scan.signing", "new-key", "README.md"), "name a directory that you can write to"),
        (of_control("-m", "pypi_scan.verify", "docs", "--public-key", "none"), "neither minisign's base64 text nor"),
        (of_control("-m", "pypi_scan.read_package", "docs", "requests"), "is that the directory or URL of a scan?"),
    ],
    ids=lambda value: " ".join(value[-3:]) if isinstance(value, list) else "",
)
def test_a_wrong_command_says_what_to_do(command: list[str], message: str) -> None:
    says(command, PROJECT, message)


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        ("prefetch", ["--shard=none", "--source=web", "--cache=none"], "plan the scan again"),
        ("scan_shard", ["--shard=none", "--cache=none", "--output=none"], "plan the scan again"),
        ("describe_scanner", ["--redaction-key=none"], "ship it again"),
        ("check_worker", ["--requirements=none"], "check the paths"),
    ],
)
def test_a_program_of_the_worker_says_what_to_do(
    program: str, options: list[str], message: str, tmp_path: Path
) -> None:
    python = PROJECT / ".venv-worker" / "bin" / "python"
    says([str(python), str(PROJECT / "include" / "scripts" / f"{program}.py"), *options], tmp_path, message)


def says(command: list[str], directory: Path, message: str) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert message in said
    assert "Traceback" not in said
