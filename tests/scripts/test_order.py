"""In which order packages are scanned, and that nothing but the joblog's times tells."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Shard, wheel
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


def test_the_costly_come_first(shard: Shard, scan: Any, tmp_path: Path) -> None:
    four_packages(shard)
    assert scan(tmp_path / "output", jobs=1).returncode == 0
    assert order(tmp_path / "output") == [(4, "most"), (3, "more"), (1, "same"), (2, "alike")]


def test_what_is_planned_to_cost_most_comes_first(shard: Shard, scan: Any, tmp_path: Path) -> None:
    four_packages(shard)
    assert scan(tmp_path / "guessed").returncode == 0
    for package, seconds in zip(shard.packages, (0.01, 900.5, 0, 7), strict=True):
        package["cost"] = seconds
    assert scan(tmp_path / "planned", jobs=1).returncode == 0
    assert order(tmp_path / "planned") == [(2, "alike"), (4, "most"), (1, "same"), (3, "more")]
    for file in ("records.jsonl.zst", "scanner.json"):
        assert (tmp_path / "guessed" / file).read_bytes() == (tmp_path / "planned" / file).read_bytes(), file
    assert list(statuses(tmp_path / "guessed")) == list(statuses(tmp_path / "planned"))
