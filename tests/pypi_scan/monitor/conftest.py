"""Packed scans of one host, one after the other."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.pypi_scan.conftest import SCANNER, Scan

from pypi_scan.divide import divide_scan
from pypi_scan.mirror import Mirror
from pypi_scan.plan import plan_scan
from pypi_scan.scan_request import ScanRequest

type Packages = dict[str, tuple[str, list[dict[str, Any]] | None]]

DIRECTORY = f"packages/ab/cd/{'0' * 60}"


def detection(name: str = "x", **more: Any) -> dict[str, Any]:
    """A detection in the source distribution of the package `name`."""
    location = f"{DIRECTORY}/{name}-1.0.tar.gz${name}-1.0/setup.py"
    return {
        "type": "FunctionCall",
        "slug": "functioncall",
        "severity": "high",
        "score": 50,
        "message": "Found exec",
        "signature": f"ast_pattern#exec/3#{location}",
        "location": location,
        "line_no": 3,
        "line": "exec(code)",
        "tags": ["code_execution"],
        "extra": {},
    } | more


@pytest.fixture
def add_scan(tmp_path: Path) -> Callable[[str, Packages], Path]:
    """Pack a scan of {package: (version, detections, or None for a package whose scan timed out)}."""

    def add(date: str, packages: Packages) -> Path:
        mirror = tmp_path / f"mirror-{date}"
        (mirror / "web/json").mkdir(parents=True)
        (mirror / "status").write_text("123")
        for name, (version, _) in packages.items():
            (mirror / "web/json" / name).write_bytes(_document(name, version))
        as_of = datetime.fromisoformat(date).replace(tzinfo=UTC)
        plan = plan_scan(Mirror(mirror), ScanRequest(as_of), tmp_path / "scans", f"run of {date}")
        directory = tmp_path / "scans" / plan.scan_id
        scan = Scan(directory, plan, divide_scan(directory, SCANNER, records=None, shards=2))
        for shard in scan.division.shard_ids:
            results = scan.results(shard)
            for record in results.records:
                record["detections"] = packages[record["pypi"]["name"]][1] or []
                record["score"] = sum(one["score"] for one in record["detections"])
            for status in list(results.statuses):
                if packages[status["name"]][1] is None:
                    results.fail(status["name"], "timeout")
            results.accept()
        scan.pack()
        return directory / "dataset"

    return add


def _document(name: str, version: str) -> bytes:
    file = {
        "filename": f"{name}-{version}.tar.gz",
        "url": f"https://files.example/{DIRECTORY}/{name}-{version}.tar.gz",
        "digests": {"sha256": "0" * 64},
        "size": 1,
        "upload_time_iso_8601": "2026-01-01T00:00:00.000000Z",
    }
    info = {"name": name, "version": version}
    return json.dumps({"info": info, "last_serial": 1, "releases": {version: [file]}}).encode()
