"""Simulate the scan of a whole PyPI: plan and divide it for real, scan it on workers with a virtual clock.

Planned and divided is a synthetic mirror, below .bench/, of which only the JSON documents exist; it is removed at the
end. What is fetched and scanned is drawn (population.py), the nodes are simulated (cluster.py), and the project's own
code predicts, divides and assigns. Writes bench/results/simulate.json and, from it, docs/scaling.md.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import scaling_page
from arguments import positive_int
from cluster import Assumptions, Cluster, Node, Ran, Shard, lower_bound
from datasets_bench import MEAN_BYTES, World, peak_mb, release_file
from population import Package, a_month_before, packages

from pypi_scan.accept import ShardSummary
from pypi_scan.balance import BlockCost, balance, shard_count
from pypi_scan.choosers import cores_for
from pypi_scan.divide import divide_scan
from pypi_scan.fleet import Capacity
from pypi_scan.mirror import Mirror
from pypi_scan.plan import plan_scan
from pypi_scan.prediction import CostModel
from pypi_scan.results import Scanner
from pypi_scan.scan_request import ScanRequest
from pypi_scan.settings import Settings
from pypi_scan.shard import block_size

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
RESULT = HERE / "results" / "simulate.json"
TARGETS = {"plan_s": 180, "plan_peak_mb": 2048, "makespan_equal": 1.05, "makespan_unequal": 1.10}
PLACES = Settings.model_fields["prefetch_ahead"].default + 1
CORES = 24
SLOW_MIRROR = 25  # times as slow as assumed else
# Of unequal workers: cores, how fast each really is, and the part of the scan after which it dies.
UNEQUAL = (
    (48, 1.1, None), (48, 0.9, None), (32, 1.0, 0.4), (24, 1.2, None), (24, 1.0, None),
    (24, 0.8, None), (16, 1.3, None), (12, 1.0, 0.6), (8, 0.7, None), (8, 1.1, None),
)  # fmt: skip
COUNT_TASKS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
tasks = bag.dags["global_scan"].tasks
mapped = sum(task.get_closest_mapped_task_group() is not None for task in tasks)
json.dump({"of_a_shard": mapped, "others": len(tasks) - mapped}, sys.stdout)
"""

Figures = dict[str, Any]


class ScanWorld(World):
    """A mirror's documents of which the newest releases have the files that `scanned` says, by name."""

    def __init__(self, mirror: Mirror, count: int) -> None:
        super().__init__(mirror, count)
        self.scanned = {package.name: package for package in packages(self.names)}

    def document(self, name: str, serial: int) -> Figures:
        document, package = super().document(name, serial), self.scanned[name]
        version = document["info"]["version"]
        files = [release_file(name, version) for _ in range(package.files)]
        for number, file in enumerate(files):
            file["filename"] = f"{name}-{version}-{number}.tar.gz"
            file["url"] = f"https://files.example/packages/ab/cd/{'0' * 60}/{file['filename']}"
            file["size"] = package.size // package.files
        document["releases"][version] = files
        return document


def main() -> None:
    """Run the simulation; exit code 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--packages", type=positive_int, default=20_000, metavar="N", help="default: 20000")
    parser.add_argument("--cache", type=Path, default=PROJECT / ".bench", metavar="DIR", help="default: .bench")
    parser.add_argument("--no-mirror", action="store_true", help="do not plan: only scan on simulated workers")
    arguments = parser.parse_args()
    root = arguments.cache.resolve() / f"simulate-{arguments.packages}"
    world = ScanWorld(Mirror(root / "mirror"), arguments.packages)
    scanned = list(world.scanned.values())
    scans = assign(scanned)
    for name, figures in scans["runs"].items():
        print(f"{name:24} {figures['shards']:5} shards {figures['ratio']:7.3f}", flush=True)
    planned = None if arguments.no_mirror else plan(world)
    equal, tasks = scans["runs"]["equal"], count_tasks()
    result = {
        "summary": {
            "packages": arguments.packages,
            "plan_s": planned and round(planned["plan_seconds"] + planned["divide_seconds"], 1),
            "plan_peak_mb": planned and planned["peak_mb"],
            "makespan_equal": equal["ratio"],
            "makespan_unequal": scans["runs"]["unequal"]["ratio"],
            "tasks": equal["shards"] * tasks["of_a_shard"] + tasks["others"],
            "xcom_bytes": planned and planned["xcom_bytes"] + equal["xcom_bytes"],
        },
        "settings": {
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "mean_document_bytes": MEAN_BYTES,
            "places": PLACES,
            "slow_mirror": SLOW_MIRROR,
        },
        "assumed": asdict(Assumptions()),
        "tasks": tasks,
        "plan": planned,
        **scans,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for key, value in result["summary"].items():
        print(f"{key:22} {value}")
    print(f"written: {RESULT.relative_to(PROJECT)}, {scaling_page.write().relative_to(PROJECT)}")
    if missed := [key for key, most in TARGETS.items() if (result["summary"][key] or 0) > most]:
        sys.exit(f"missed: {', '.join(missed)}")


def plan(world: ScanWorld) -> Figures:
    """Plan and divide a scan of all packages, in a process of its own; return what that took."""
    root = world.mirror.root.parent
    root.mkdir(parents=True, exist_ok=True)
    needed, free = len(world.names) * (MEAN_BYTES + 4096) * 5 // 4, shutil.disk_usage(root).free
    if needed > free:
        sys.exit(f"error: {len(world.names)} documents need {needed >> 30} GiB and {root} has {free >> 30}: take fewer")
    try:
        world.write_all()
        print("plan ...", end=" ", flush=True)
        command = [sys.executable, str(Path(__file__)), "_plan", str(world.mirror.root), str(root / "scans")]
        figures: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    finally:
        shutil.rmtree(root)
    print(f"{figures['plan_seconds']} s, divide {figures['divide_seconds']} s, {figures['peak_mb']} MB")
    if figures["planned"] != len(world.names):
        sys.exit(f"error: {figures['planned']} of {len(world.names)} packages were planned")
    return figures


def _plan(root: str, scans_dir: str) -> Figures:
    started = time.perf_counter()
    made = plan_scan(Mirror(Path(root)), ScanRequest(datetime.now(UTC)), Path(scans_dir), "simulation")
    planned = time.perf_counter()
    scanner = Scanner("aura-security", "2.1", "3.11", {})
    workers = [Capacity(CORES)] * len(UNEQUAL)
    division = divide_scan(Path(scans_dir) / made.scan_id, scanner, records=None, workers=workers)
    divided = time.perf_counter()
    returned = msgspec.to_builtins(made)
    xcom = [returned, *returned.values(), division.shard_ids]  # a dict is kept whole and by its keys
    return {
        "planned": made.planned,
        "plan_seconds": round(planned - started, 1),
        "divide_seconds": round(divided - planned, 1),
        "peak_mb": peak_mb() + cores_for(made.input) * children_peak_mb(),
        "xcom_bytes": sum(len(json.dumps(value)) for value in xcom),
    }


def children_peak_mb() -> int:
    """Return the most memory that any process had that this one waited for, in megabytes."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 // 1_000_000


def assign(scanned: Sequence[Package]) -> Figures:
    """Scan `scanned` on several sets of workers; return what is known of them, and how each run went."""
    cost = sum(package.cost for package in scanned)
    costs = sorted((package.cost for package in scanned), reverse=True)
    known, guessed = CostModel(a_month_before(scanned)), CostModel({})
    equal = [Node(f"worker{number}", Capacity(CORES)) for number in range(len(UNEQUAL))]
    seconds = cost / sum(cores * speed for cores, speed, _ in UNEQUAL)
    unequal = [
        Node(f"worker{number}", Capacity(cores), speed, part * seconds if part else float("inf"))
        for number, (cores, speed, part) in enumerate(UNEQUAL)
    ]
    real = Assumptions()
    slow = replace(real, mirror_rate=real.mirror_rate / SLOW_MIRROR)
    runs = {
        "equal": (known, equal, real, PLACES),
        "unequal": (known, unequal, real, PLACES),
        "equal, first scan": (guessed, equal, real, PLACES),
        **{
            f"{count} of {cores} cores": (known, _alike(count, cores), real, PLACES)
            for count, cores in ((1, 8), (1, 24), (1, 64), (2, 24), (4, 24), (8, 24), (16, 24))
        },
        **{f"{count} of 24 cores, slow mirror": (known, _alike(count, 24), slow, PLACES) for count in (1, 2, 4, 8)},
    }
    return {
        "drawn": {
            "cpu_hours": round(cost / 3600, 1),
            "median_cost": round(costs[len(costs) // 2], 2),
            "share_of_costliest_hundredth": round(sum(costs[: len(costs) // 100]) / cost, 3),
            "files": sum(package.files for package in scanned),
            "terabytes": round(sum(package.size for package in scanned) / 1e12, 3),
        },
        "runs": {name: _run(scanned, *how) for name, how in runs.items()},
    }


def _alike(count: int, cores: int) -> list[Node]:
    return [Node(f"worker{number}", Capacity(cores)) for number in range(count)]


def _run(
    scanned: Sequence[Package], model: CostModel, nodes: Sequence[Node], assumed: Assumptions, places: int
) -> Figures:
    shards = divided(scanned, model, [node.capacity for node in nodes])
    ran: Ran = Cluster(nodes, shards, places, assumed).run()
    bound = lower_bound(sum(package.cost for package in scanned), nodes)
    collected = (
        ShardSummary(len(shard.packages), len(shard.packages), {"ok": len(shard.packages)}) for shard in shards
    )
    return {
        "shards": len(shards),
        "hours": round(ran.seconds / 3600, 2),
        "ratio": round(ran.seconds / bound, 3),
        "disk_gb": round(ran.disk_bytes / 1e9, 1),
        "scans": ran.scans,
        "idle": round(ran.idle / (bound * sum(node.capacity.cores for node in nodes)), 3),
        "xcom_bytes": sum(len(msgspec.json.encode(summary)) for summary in collected),
    }


def divided(scanned: Sequence[Package], model: CostModel, workers: Sequence[Capacity]) -> list[Shard]:
    """Divide the packages, sorted by name, as a scan is; the disk holds nothing of it."""
    costs = [model.cost(package.name, package.files, package.size) for package in scanned]
    may_cost = [model.may_cost(package.name, package.files, package.size) for package in scanned]
    size = block_size(len(scanned))
    blocks = [
        BlockCost(number, sum(costs[start : start + size]), max(may_cost[start : start + size]))
        for number, start in enumerate(range(0, len(scanned), size))
    ]
    count = shard_count(sum(costs), workers, len(blocks))
    shards = []
    for number, group in enumerate(balance(blocks, count), start=1):
        places = [place for block in group for place in range(block * size, min((block + 1) * size, len(scanned)))]
        shards.append(
            Shard(
                name=f"{number:04}",
                predicted=sum(costs[place] for place in places),
                size=sum(scanned[place].size for place in places),
                files=sum(scanned[place].files for place in places),
                packages=[(may_cost[place], scanned[place].cost) for place in places],
            )
        )
    return shards


def count_tasks() -> Figures:
    """Return how many tasks of the DAG global_scan there are for each shard, and how many others."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": f"{PROJECT / 'dags'}:{PROJECT / 'plugins'}",
        }
        command = [sys.executable, "-W", "ignore", "-c", COUNT_TASKS, str(PROJECT / "dags")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=home)
    counts: Figures = json.loads(done.stdout[done.stdout.rindex("{") :])
    return counts


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "_plan":
        print(json.dumps(_plan(*sys.argv[2:])))
    else:
        main()
