"""Measure the scan engine against the original way to scan: GNU parallel, one process of stock Aura a package.

Both scan the same packages on the same cores, in alternating rounds. Writes bench/results/scan.json and, from it,
docs/benchmarks.md. What is downloaded and unpacked lies below .bench/, and is used again.
"""

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import corpus
import detections
import measure
import page
import summary
import zstandard
from arguments import positive, positive_int
from world import Release, World

from demo.upstream.pip_command import pip_command  # noqa: TID251 - like the demo, this never ships

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
PYTHON = PROJECT / ".venv-worker" / "bin" / "python"
ENGINE = PROJECT / "include" / "scripts" / "scan_shard.py"
RESULT = HERE / "results" / "scan.json"
_EXAMPLES = 5  # differing detections a package and side that the result quotes

Result = dict[str, Any]


class Side:
    """One of the two ways to scan: in `directory`, on `cores`, with so many seconds a package."""

    def __init__(self, world: World, directory: Path, cores: int, timeout: float) -> None:
        self._world = world
        self._directory = directory
        self._cores = cores
        self._timeout = timeout


class Original(Side):
    """The original way."""

    def run(self, releases: list[Release], label: str) -> tuple[measure.Measured, dict[str, Result]]:
        """Scan `releases`; return what it took, and by name what became of each."""
        output = self._directory / label
        temporary = output / "tmp"
        temporary.mkdir(parents=True)
        names = output / "names.txt"
        names.write_text("".join(f"{release.name}\n" for release in releases), encoding="utf-8")
        scan = f"'{PYTHON}' '{HERE / 'stock_aura.py'}' {{}}.usage scan mirror://{{}} -f json -v > {{}}.json 2> {{}}.err"
        command = ["parallel", "--jobs", str(self._cores), "--joblog", "joblog.txt", "--workdir", str(output)]
        options = ["--timeout", str(round(self._timeout)), "--arg-file", str(names), scan]
        environment = {
            "AURA_CFG": str(HERE / "stock_config.yaml"),
            "AURA_MIRROR_PATH": str(self._world.web),
            "AURA_PYPI_STATS": str(self._world.dataset / "pypi_stats.json"),
            "AURA_REVERSE_DEPENDENCIES": str(self._world.dataset / "reverse_dependencies.json"),
            "AURA_NO_CACHE": "1",  # it is keyed by file name alone
            "AURA_NO_PROGRESS": "1",
            "AURA_ALL_MODULE_IMPORTS": "true",
            "PARALLEL_HOME": str(output / "parallel"),
            "TMPDIR": str(temporary),
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
        }
        (output / "parallel").mkdir()
        took = measure.run([*command, *options], environment, output / "log.txt", output)
        jobs = _joblog(output / "joblog.txt")
        if len(jobs) != len(releases):
            raise corpus.CorpusError(
                f"GNU parallel did not run every scan; it says: {(output / 'log.txt').read_text()}"
            )
        scans = {r.name: self._result(r, output, temporary, jobs[seq]) for seq, r in enumerate(releases, start=1)}
        return took, scans

    def _result(self, release: Release, output: Path, temporary: Path, job: dict[str, str]) -> Result:
        usage = _json(output / f"{release.name}.usage") or {"cpu_seconds": 0, "peak_memory_bytes": 0, "unpacked": {}}
        record = _json(output / f"{release.name}.json")
        scanned = job["Exitval"] == "0" and record is not None
        errors = (output / f"{release.name}.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        path = detections.original_paths(str(self._world.web), str(temporary), usage["unpacked"])
        return {
            "scanned": scanned,
            "reason": None if scanned else path(errors[-1])[:300] if errors else f"exit {job['Exitval']}",
            "started": float(job["Starttime"]),
            "seconds": float(job["JobRuntime"]),
            "cpu_seconds": usage["cpu_seconds"],
            "peak_mb": round(usage["peak_memory_bytes"] / 1e6, 1),
            "left_out": detections.left_out(record["detections"]) if scanned and record else 0,
            "found": detections.multiset(record["detections"], path) if scanned and record else Counter(),
        }


class Engine(Side):
    """include/scripts/scan_shard.py, with its own defaults but for the cores and the time limit."""

    def run(self, releases: list[Release], label: str) -> tuple[measure.Measured, dict[str, Result]]:
        """Scan `releases`; return what it took, and by name what became of each."""
        output = self._directory / label
        output.mkdir(parents=True)
        shard = output / f"{label}.jsonl.zst"
        self._world.write_shard(shard, releases)
        command = [str(PYTHON), str(ENGINE), "--shard", str(shard), "--cache", str(self._world.root)]
        options = ["--output", str(output), "--dataset", str(self._world.dataset)]
        limits = ["--jobs", str(self._cores), "--timeout", str(self._timeout)]
        took = measure.run([*command, *options, *limits], {}, output / "log.txt", output)
        if took.exit_code:
            raise corpus.CorpusError(f"the engine failed: {(output / 'log.txt').read_text().splitlines()[-1]}")
        jobs = _joblog(output / "joblog.txt")
        with zstandard.open(output / "records.jsonl.zst", "rb") as stream:
            records = {r["pypi"]["name"]: r for r in map(json.loads, io.TextIOWrapper(stream, encoding="utf-8"))}
        statuses = {s["name"]: s for s in map(json.loads, (output / "status.jsonl").read_text("utf-8").splitlines())}
        scans = {}
        for seq, release in enumerate(releases, start=1):
            status, record = statuses[release.name], records.get(release.name)
            scans[release.name] = {
                "scanned": record is not None,
                "status": status["status"],
                "reason": status["reason"],
                "started": float(jobs[seq]["Starttime"]) if seq in jobs else took.started,
                "seconds": status["seconds"],
                "cpu_seconds": status["cpu_seconds"],
                "peak_mb": round(status["peak_memory_bytes"] / 1e6, 1),
                "left_out": detections.left_out(record["detections"]) if record else 0,
                "found": detections.multiset(record["detections"]) if record else Counter(),
            }
        return took, scans


def build_world(wanted: list[corpus.Wanted], cache: Path, root: Path) -> tuple[World, list[Release]]:
    """Fetch what is `wanted` and build the mirror tree and the dataset below `root`."""
    world, releases = World(root), []
    for one, files in corpus.fetch(wanted, pip_command(cache), cache / "downloads"):
        releases.append(world.add(one.name, one.version, files))
    print(f"corpus: {len(releases)} packages, {sum(release.size for release in releases) / 1e6:.1f} MB")
    world.write_dataset(releases)
    return world, releases


def measure_floor(world: World, releases: list[Release], directory: Path) -> dict[str, dict[str, float]]:
    """Return the floor of each release, by name."""
    for release in releases:
        (directory / release.name).mkdir(parents=True)
        for number, source in enumerate(world.python_files(release)):
            (directory / release.name / f"{number:06d}.py").write_bytes(source)
    command = [str(PYTHON), str(HERE / "floor.py"), str(directory)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    floors: dict[str, dict[str, float]] = json.loads(done.stdout)
    return floors


def measure_profile(world: World, releases: list[Release], directory: Path) -> dict[str, float]:
    """Return what the engine spends its time on when it scans `releases`: seconds by area."""
    directory.mkdir(parents=True)
    world.write_shard(directory / "profile.jsonl.zst", releases)
    command = [str(PYTHON), str(HERE / "profile_engine.py"), str(ENGINE.parent), str(directory / "profile.jsonl.zst")]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [*command, str(world.web), str(directory)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    areas: dict[str, float] = json.loads(done.stdout)
    return areas


def row(release: Release, original: Result, engine: Result, floor: dict[str, float]) -> Result:
    """Return what the result says of one package: both scans, and how their detections compare."""
    only_original = detections.difference(original["found"], engine["found"])
    only_engine = detections.difference(engine["found"], original["found"])
    both = original["scanned"] and engine["scanned"]
    return {
        "name": release.name,
        "version": release.version,
        "files": len(release.files),
        "bytes": release.size,
        "identical": not (only_original or only_engine) if both else None,
        "detections": engine["found"].total(),
        "only_original": _differing(only_original) if both else None,
        "only_engine": _differing(only_engine) if both else None,
        "floor": floor,
        "ratio": summary.ratios(original, engine),
        "original": {key: value for key, value in original.items() if key != "found"},
        "engine": {key: value for key, value in engine.items() if key != "found"},
    }


def _differing(found: list[detections.Detection]) -> Result:
    return {"by_type": Counter(one["type"] for one in found), "examples": found[:_EXAMPLES]}


def compare(world: World, releases: list[Release], rounds: int, cores: int, timeout: float, work: Path) -> Result:
    """Run both sides over `releases`, a part of them in each of the `rounds`; return the whole result."""
    sides: dict[str, Original | Engine] = {
        "original": Original(world, work / "original", cores, timeout),
        "engine": Engine(world, work / "engine", cores, timeout),
    }
    smallest = min(releases, key=lambda release: release.size)
    for side in sides.values():
        side.run([smallest], "warm-up")  # not measured: programs and libraries are in memory from here on
    floors = measure_floor(world, releases, work / "floor")  # and this has read every file
    took: dict[str, list[measure.Measured]] = {name: [] for name in sides}
    scans: dict[str, dict[str, Result]] = {name: {} for name in sides}
    waiting = []
    for number in range(rounds):
        part = releases[number::rounds]
        for name in sorted(sides, reverse=number % 2 == 0):  # each goes first in every other round
            print(f"round {number + 1} of {rounds}: {len(part)} packages, {name} ...", end=" ", flush=True)
            measured, found = sides[name].run(part, f"round-{number + 1}")
            print(f"{measured.cpu_seconds:.0f} s CPU, {measured.wall_seconds:.0f} s")
            took[name].append(measured)
            scans[name].update(found)
            if name == "engine":
                times = (summary.Scan(s["started"], s["seconds"], s["cpu_seconds"]) for s in found.values())
                waiting.append(summary.work_while_waiting(times, cores))
    rows = [row(r, scans["original"][r.name], scans["engine"][r.name], floors[r.name]) for r in releases]
    legs = {
        name: [summary.Leg(one.cpu_seconds, one.wall_seconds, one.peak_mb) for one in measures]
        for name, measures in took.items()
    }
    floor = sum(one["cpu_seconds"] for one in floors.values())
    by_name = {release.name: release for release in releases}
    slowest = [by_name[one["name"]] for one in summary.slowest(rows)]
    print(f"profile: {len(slowest)} packages", flush=True)
    return {
        "summary": summary.summarise(rows, legs["original"], legs["engine"], waiting, floor),
        "settings": {
            "cores": cores,
            "rounds": rounds,
            "timeout": timeout,
            "python": subprocess.run([str(PYTHON), "--version"], capture_output=True, text=True).stdout.split()[-1],
            "machine": platform.machine(),
        },
        "legs": {name: [asdict(one) for one in measures] for name, measures in took.items()},
        "packages": rows,
        "profile": measure_profile(world, slowest, work / "profile"),
    }


def _joblog(path: Path) -> dict[int, dict[str, str]]:
    """Return the rows of GNU parallel's joblog at `path` by their ``Seq``, which counts from 1."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [""]
    header = lines[0].split("\t")
    rows = (dict(zip(header, line.split("\t"), strict=False)) for line in lines[1:])
    return {int(entry["Seq"]): entry for entry in rows}


def _json(path: Path) -> Result | None:
    """Return the JSON object in the file at `path`; None if there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, default=HERE / "corpus.txt", metavar="FILE", help="name==version lines")
    parser.add_argument("--packages", type=positive_int, metavar="N", help="only the first N of the corpus")
    parser.add_argument(
        "--rounds", type=positive_int, default=3, metavar="N", help="parts the corpus is run in (default: 3)"
    )
    parser.add_argument("--timeout", type=positive, default=900, metavar="S", help="seconds a package (default: 900)")
    parser.add_argument("--cache", type=Path, default=PROJECT / ".bench", metavar="DIR", help="default: .bench")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    if shutil.which("parallel") is None:
        sys.exit("error: GNU parallel is not installed; on Debian: sudo apt-get install parallel")
    cache: Path = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n", encoding="utf-8")  # other people's code: not for git, nor for linters
    cores = len(os.sched_getaffinity(0))  # every process that is started here inherits them
    try:
        whole = corpus.read(arguments.corpus)
        with tempfile.TemporaryDirectory(prefix="run-", dir=cache) as directory:
            world, releases = build_world(whole[: arguments.packages], cache, Path(directory) / "mirror")
            rounds = max(1, min(arguments.rounds, len(releases)))
            result = compare(world, releases, rounds, cores, arguments.timeout, Path(directory))
    except (corpus.CorpusError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    result["settings"] |= {"corpus": arguments.corpus.name, "corpus_packages": len(whole)}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    written = page.write()
    for key, value in result["summary"].items():
        print(f"{key:22} {value}")
    print(f"written: {RESULT.relative_to(PROJECT)}, {written.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
