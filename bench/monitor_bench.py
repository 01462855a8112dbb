"""Time the pages of the scan monitor over all of PyPI, as a browser would, in Airflow's real API server.

Makes two packed scans of a synthetic PyPI, one month apart, and half of a third with 1,000 shards, below .bench/, where
they stay for the next run. Then starts the API server on them, on loopback, and asks for each page as somebody who is
logged in: the first time nothing is known of the scans, later the counts of each kind of detection are. The baseline
is what the monitor avoids: DuckDB asked for one page of the findings directly, and one reading of all records.

    make bench-monitor N=700000

Writes bench/results/monitor.json and docs/benchmarks.md.
"""

import argparse
import http.client
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import page
import psutil
import zstandard
from arguments import positive_int
from datasets_bench import World
from monitor_scans import make_running_scan, make_scans

from pypi_scan.mirror import Mirror

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
RESULT = HERE / "results" / "monitor.json"
TARGETS = {"slowest_ms": 300}
SHARDS = 1000
ROUNDS = 20
BEFORE, LATEST, RUNNING = "2026-10-01", "2026-11-01", "2026-12-01"
RUN_ID = "manual__2026-12-01"
_PREFIX = "/scan-monitor"
_BYTES_A_PACKAGE = 8_000  # on disk, while both scans are made
_PLAIN = "SELECT * FROM read_parquet(?) WHERE severity = 'critical' ORDER BY score DESC, package LIMIT 100"

Figures = dict[str, Any]


def main() -> None:
    """Run the benchmark; exit code 1 if a page is too slow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packages", type=positive_int, default=700_000, metavar="N", help="default: 700000")
    parser.add_argument("--cache", type=Path, default=PROJECT / ".bench", metavar="DIR", help="default: .bench")
    arguments = parser.parse_args()
    root = arguments.cache.resolve() / f"monitor-{arguments.packages}"
    result = run(root, arguments.packages)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {RESULT}, {page.write()}")
    print(json.dumps(result["summary"]))
    if missed := [key for key, most in TARGETS.items() if result["summary"][key] > most]:
        sys.exit(f"missed: {', '.join(missed)}")


def run(root: Path, packages: int) -> Figures:
    """Return the result for so many `packages`, whose scans lie below `root` or are made there."""
    scans, names = root / "scans", World(Mirror(root), packages).names
    if not (root / "complete").exists():
        needed, free = packages * _BYTES_A_PACKAGE, shutil.disk_usage(root.parent).free
        if needed > free:
            sys.exit(f"error: {packages} packages need {needed >> 30} GiB and {root} has {free >> 30}: take fewer")
        shutil.rmtree(root, ignore_errors=True)
        print(f"making two scans of {packages} packages: millions of detections, many minutes", flush=True)
        make_scans(scans, (BEFORE, LATEST), names)
        (root / "complete").touch()
    shutil.rmtree(scans / RUNNING, ignore_errors=True)
    make_running_scan(scans / RUNNING, names, SHARDS, RUN_ID, time.time())
    dataset = scans / LATEST / "dataset"
    with _server(root) as (ask, cpu_seconds):
        pages = {name: _time(ask, cpu_seconds, address) for name, address in _addresses(dataset).items()}
    for name, timed in pages.items():
        print(
            f"{timed['median_ms']:7.1f} ms, CPU {timed['cpu_ms']:6.1f} ms, first {timed['first_ms']:7.1f} ms, "
            f"{timed['bytes'] / 1000:4.0f} kB  {name}"
        )
    plain = _plain(dataset)
    slowest = max(timed["median_ms"] for timed in pages.values())
    return {
        "summary": {
            "packages": packages,
            "detections": _detections(dataset),
            "pages": len(pages),
            "slowest_ms": slowest,
            "slowest_cpu_ms": max(timed["cpu_ms"] for timed in pages.values()),
            "slowest_first_ms": max(timed["first_ms"] for timed in pages.values()),
            "ratio_to_plain_query": round(plain["query_ms"] / slowest, 1),
            "ratio_to_reading_all": round(plain["reading_ms"] / slowest, 1),
        },
        "settings": {
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "rounds": ROUNDS,
            "shards": SHARDS,
            "load": round(os.getloadavg()[0], 1),
        },
        "pages": pages,
        "plain": plain,
    }


def _addresses(dataset: Path) -> dict[str, str]:
    """Return what is asked for: pages as people come to them, with filters that many and that few detections pass."""
    most, median, deep = _examples(dataset)
    findings = {
        "findings": {},
        "findings, critical": {"severity": "critical"},
        "findings, of a tag": {"tag": "secrets_leak"},
        "findings, type and severity, by package": {"type": "FunctionCall", "severity": "high", "sort": "package"},
        "findings, score from 50, by type": {"min_score": 50, "sort": "type"},
        "findings, all by package": {"sort": "package"},
        "findings, names with a": {"package": "a"},
        "findings, imports of names with sc": {"type": "ModuleImport", "package": "sc", "sort": "package"},
        "findings, nothing": {"severity": "critical", "tag": "url"},
        "findings, far on by score": {"key": 0, "row": deep},
        "findings, far on by package": {"sort": "package", "key": median, "row": deep},
        "findings, far on by type": {"sort": "type", "key": "ModuleImport", "row": deep},
    }
    packages = {
        "package, most detections": f"/packages/{most}",
        "package, as many as most have": f"/packages/{median}",
        "package, in the scan before": f"/packages/{median}?scan={BEFORE}",
        "search": f"/packages?name={median[:2]}",
    }
    return {
        "overview": "/",
        "scan that runs": f"/scans/{RUNNING}",
        "scan that runs, last shards": f"/scans/{RUNNING}?page=20",
        "scan that ended": f"/scans/{LATEST}",
        **{name: f"/findings?{urlencode({'scan': LATEST, **query})}" for name, query in findings.items()},
        **packages,
    }


def _examples(dataset: Path) -> tuple[str, str, int]:
    """Return the package with the most detections, one with as many as most have, and the row amid the detections."""
    packages, detections = (str(dataset / name) for name in ("packages.parquet", "detections.parquet"))
    ranked = "SELECT package FROM read_parquet(?) ORDER BY detections DESC, package LIMIT 1"
    (most,) = duckdb.execute(ranked, [packages]).fetchall()[0]
    (middle,) = duckdb.execute("SELECT count(*) // 2 FROM read_parquet(?)", [packages]).fetchall()[0]
    (median,) = duckdb.execute(f"{ranked} OFFSET {middle}", [packages]).fetchall()[0]
    (deep,) = duckdb.execute("SELECT count(*) * 3 // 4 FROM read_parquet(?)", [detections]).fetchall()[0]
    return most, median, deep


def _detections(dataset: Path) -> int:
    (number,) = duckdb.execute(
        "SELECT count(*) FROM read_parquet(?)", [str(dataset / "detections.parquet")]
    ).fetchall()[0]
    return int(number)


def _time(ask: Callable[[str], bytes], cpu_seconds: Callable[[], float], address: str) -> Figures:
    """Return the milliseconds that a page takes, the first time and later, and the CPU time of the server for it."""
    seconds, cpu = [], 0.0
    for number in range(ROUNDS + 1):
        if number == 1:
            cpu = cpu_seconds()
        started = time.perf_counter()
        content = ask(address)
        seconds.append(time.perf_counter() - started)
    cpu = cpu_seconds() - cpu
    first, *later = (round(1000 * one, 1) for one in seconds)
    return {
        "address": address,
        "first_ms": first,
        "median_ms": statistics.median(later),
        "worst_ms": max(later),
        "cpu_ms": round(1000 * cpu / ROUNDS, 1),
        "bytes": len(content),
    }


def _plain(dataset: Path) -> Figures:
    """Return the milliseconds of a page of findings from DuckDB alone, and of reading all records once."""
    seconds = []
    with duckdb.connect(config={"threads": 2}) as database:
        for _ in range(3):
            started = time.perf_counter()
            database.execute(_PLAIN, [str(dataset / "detections.parquet")]).fetchall()
            seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    with zstandard.open(dataset / "dataset.zst", "rb") as records:
        while records.read(1 << 20):
            pass
    reading = time.perf_counter() - started
    return {"query_ms": round(1000 * statistics.median(seconds), 1), "reading_ms": round(1000 * reading, 1)}


@contextmanager
def _server(root: Path) -> Iterator[tuple[Callable[[str], bytes], Callable[[], float]]]:
    """Run the API server on the scans below `root`; yields what asks it for a page, and what tells its CPU seconds."""
    with tempfile.TemporaryDirectory(prefix="airflow-", dir=root) as home:
        environment = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "PYTHONPATH": str(PROJECT / "plugins"),
            "PYPI_SCAN_MIRROR_ROOT": f"{home}/mirror",
            "PYPI_SCAN_STATE_DIR": f"{home}/state",
            "PYPI_SCAN_SCANS_DIR": str(root / "scans"),
            "PYPI_SCAN_MIRROR_SOURCE": "http://mirror.example",
            "PYPI_SCAN_CDN_BUCKET": "bucket",
            "PYPI_SCAN_CDN_PUBLIC_URL": "https://cdn.example",
        }
        log = Path(home) / "log"
        with socket.socket() as listening, log.open("wb") as messages:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            port, number = listening.getsockname()[1], listening.fileno()
            server = subprocess.Popen(
                [sys.executable, str(HERE / "monitor_server.py"), str(number), RUN_ID, str(SHARDS)],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=messages,
                pass_fds=[number],
            )
        with server:
            try:
                process = psutil.Process(server.pid)
                yield _browser(server, port, log), lambda: sum(process.cpu_times()[:2])
            finally:
                server.terminate()


def _browser(server: "subprocess.Popen[bytes]", port: int, log: Path) -> Callable[[str], bytes]:
    """Return what asks for pages as somebody who is logged in: the server says as whom, once it is ready."""
    assert server.stdout is not None
    lines = (line.decode().split() for line in server.stdout)
    token = next((line[1] for line in lines if line[:1] == ["token"]), None)
    if token is None:
        sys.exit(f"the API server did not start: {log.read_text(errors='replace')[-2000:]}")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def ask(address: str) -> bytes:
        connection.request("GET", f"{_PREFIX}{address}", headers={"Cookie": f"_token={token}"})
        with connection.getresponse() as response:
            content = response.read()
            if response.status != http.HTTPStatus.OK:
                sys.exit(f"{address}: {response.status}\n{content.decode(errors='replace')[-2000:]}")
            return content

    return ask


if __name__ == "__main__":
    main()
