"""In which order packages are scanned, and that nothing but the joblog's times tells."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard

from .conftest import Shard, last_line, wheel
from .test_records import evaluate
from .test_scan_shard import statuses


@pytest.fixture
def scan(shard: Shard, run: Any) -> Any:
    """Scan the shard into a directory, with the mirror itself as the cache."""

    def scan(output: Path, **options: object) -> subprocess.CompletedProcess[str]:
        return run("scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output, **options)

    return scan


def four_packages(shard: Shard) -> Shard:
    """Packages that cost more the later they come, the first two as much as each other."""
    for name, lines in (("same", 1), ("alike", 1), ("more", 20_000), ("most", 40_000)):
        content = {"m.txt": "".join(f"{number * 2654435761 % 2**32}\n" for number in range(lines))}
        shard.add(name, {f"{name}-1.0-py3-none-any.whl": wheel(content)})
    return shard


def order(output: Path) -> list[tuple[int, str]]:
    """Return (Seq, name) of the rows of the joblog, by the time the packages were started."""
    rows = [row.split("\t") for row in (output / "joblog.txt").read_text().splitlines()[1:]]
    return [(int(row[0]), row[-1].removeprefix("scan ")) for row in sorted(rows, key=lambda row: float(row[2]))]


def history(path: Path, seconds: dict[str, float]) -> Path:
    """Write status lines of an earlier scan, in two frames as a packed dataset has them."""
    lines = [json.dumps({"name": name, "cpu_seconds": cpu, "status": "ok"}) + "\n" for name, cpu in seconds.items()]
    if path.suffix == ".zst":
        path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(line.encode()) for line in lines))
    else:
        path.write_text("".join(lines))
    return path


def test_the_costly_come_first(shard: Shard, scan: Any, tmp_path: Path) -> None:
    four_packages(shard)
    assert scan(tmp_path / "output", jobs=1).returncode == 0
    assert order(tmp_path / "output") == [(4, "most"), (3, "more"), (1, "same"), (2, "alike")]


@pytest.mark.parametrize("name", ["status.jsonl", "packages.jsonl.zst"])
def test_what_took_long_in_an_earlier_scan_comes_first(
    shard: Shard,
    scan: Any,
    tmp_path: Path,
    name: str,
) -> None:
    four_packages(shard)
    earlier = history(tmp_path / name, {"unknown": 7.0, "more": 0.0, "alike": 900.5, "same": 0.01})
    assert scan(tmp_path / "one", jobs=1, history=earlier).returncode == 0
    # A package that was not scanned then counts as one that was not there.
    assert order(tmp_path / "one") == [(2, "alike"), (4, "most"), (3, "more"), (1, "same")]
    assert scan(tmp_path / "two").returncode == 0
    for file in ("records.jsonl.zst", "scanner.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    assert list(statuses(tmp_path / "one")) == list(statuses(tmp_path / "two"))


@pytest.mark.parametrize(
    "content",
    [
        b"no JSON\n",
        b"[]\n",
        b'"name"\n',
        b'{"name": "a"}\n',
        b'{"name": [], "cpu_seconds": 1}\n',
        b'{"name": "a", "cpu_seconds": "long"}\n',
        b'{"name": "a", "cpu_seconds": -1}\n',
        b'{"name": "a", "cpu_seconds": NaN}\n',
        b'{"name": "a", "cpu_seconds": 1' + b"0" * 400 + b"}\n",
        b"[" * 100_000,
        b"\xff\n",
        None,
    ],
)
@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.zst"])
def test_a_history_that_is_none(worker_python: Path, tmp_path: Path, content: bytes | None, name: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(zstandard.ZstdCompressor().compress(content) if path.suffix == ".zst" else content)
    source = f"""
from pathlib import Path
from program import ProgramError
try:
    print(json.dumps(cost.read_history(Path({str(path)!r}), {{"a"}})))
except ProgramError as error:
    print(json.dumps(str(error)))
"""
    error = evaluate(worker_python, "cost", source)
    assert isinstance(error, str)
    assert error.startswith(f"the history {path} cannot be read (")


def test_a_scan_with_a_damaged_history_is_refused(shard: Shard, scan: Any, tmp_path: Path) -> None:
    path = tmp_path / "packages.jsonl.zst"
    path.write_bytes(b"no zstd")
    done = scan(tmp_path / "output", history=path)
    assert done.returncode == 1
    assert last_line(done).startswith(f"error: the history {path} cannot be read (")
