"""Measure the hourly re-generation of the small datasets on a synthetic mirror.

The documents have the shape of PyPI's and their sizes are log-normal, 20 KB in the mean. Each figure is of a process
of its own, with the documents in the page cache as far as memory allows; nothing is uploaded. The baseline, "decode",
reads every document and decodes it with msgspec into the mirror's own PackageDocument, which has info and releases.

Writes bench/results/datasets.json and, from it, docs/benchmarks.md. The mirror lies below .bench/ and is removed at the
end; with --keep it stays, and the next run of as many packages uses it again.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import page
from arguments import positive_int

from pypi_scan import datasets
from pypi_scan.mirror import Mirror

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
RESULT = HERE / "results" / "datasets.json"
CHANGED = 500
MEAN_BYTES = 20_000
TARGETS = {
    "full_ratio_to_decode": 1.5,
    "full_peak_mb": 2000,
    "changed_500_s": 10,
    "changed_500_peak_mb": 1000,
    "unchanged_s": 2,
}
_OLD = 1_700_000_000  # seconds since the epoch; documents of this age are not about to change
_FILE_BYTES = 737  # of one release file in a document
_REST_BYTES = 3010  # of a document without files

Figures = dict[str, Any]


class World:
    """The documents of a mirror: the same names for the same number of `packages`, and the same first documents."""

    def __init__(self, mirror: Mirror, packages: int) -> None:
        self.mirror = mirror
        self._draw = draw = random.Random(packages)  # noqa: S311
        words = ("".join(draw.choices("abcdefghiklmnoprstuvwy", k=draw.randint(3, 9))) for _ in range(packages))
        self.names = [f"{word}-{number:06}" for number, word in enumerate(words)]
        # As on PyPI, few packages are needed by many and most by none.
        needed = draw.sample(self.names, max(1, packages // 5))
        weights = [1 / (rank + 1) for rank in range(len(needed))]
        self._needed = draw.choices(needed, weights, k=packages * 6 + 40)

    def write_all(self) -> None:
        """Write a document for every package."""
        self.mirror.json_path("").mkdir(parents=True)
        for name in self.names:
            self._write(self.mirror.json_path(name), self.document(name, 1), _OLD)
        self._settle()

    def change(self, count: int) -> int:
        """Replace the documents of `count` packages by others as bandersnatch does; return how many there were."""
        some = self._draw.sample(self.names, min(count, len(self.names)))
        for name in some:
            new = self.mirror.json_path(f".{name}.new")
            self._write(new, self.document(name, 2), _OLD + 1)
            new.replace(self.mirror.json_path(name))
        self._settle()
        return len(some)

    def document(self, name: str, serial: int) -> Figures:
        """Return a document of drawn size, with four requirements on average, some of them with a marker."""
        draw = self._draw
        count = min(40, int(draw.expovariate(1 / 4.5)))
        start = draw.randrange(len(self._needed) - 40)
        requires = [
            f"{needed}>={draw.randrange(9)}.{draw.randrange(30)}" + ("; extra == 'test'" if draw.random() < 0.3 else "")
            for needed in self._needed[start : start + count]
        ]
        size = draw.lognormvariate(0, 1.2) / 2.05 * MEAN_BYTES  # exp(1.2 ** 2 / 2) = 2.05 is the mean of the draw
        releases = {
            f"1.{n}": [release_file(name, f"1.{n}")] for n in range(max(1, int((size - _REST_BYTES) / _FILE_BYTES)))
        }
        info = {
            "author": "Somebody",
            "classifiers": ["Programming Language :: Python :: 3", "Operating System :: OS Independent"],
            "description": "What this package is good for, and how to use it.\n" * 50,
            "home_page": f"https://example.org/{name}",
            "name": name,
            "project_urls": {"Homepage": f"https://example.org/{name}"},
            "requires_dist": requires,
            "requires_python": ">=3.9",
            "summary": "A package of the benchmark",
            "version": next(reversed(releases)),
        }
        return {"info": info, "last_serial": serial, "releases": releases, "urls": [], "vulnerabilities": []}

    def _write(self, path: Path, document: Figures, seconds: int) -> None:
        path.write_text(json.dumps(document), encoding="ascii")
        os.utime(path, (seconds, seconds))

    def _settle(self) -> None:
        """Let the directory have changed a while ago: that is so when a sync has ended."""
        documents = self.mirror.json_path("")
        seconds = int(documents.stat().st_mtime) - 60
        os.utime(documents, (seconds, seconds))


def main() -> None:
    """Run the benchmark; exit code 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--packages", type=positive_int, default=100_000, metavar="N", help="default: 100000")
    parser.add_argument("--keep", action="store_true", help="leave the mirror for the next run")
    parser.add_argument("--cache", type=Path, default=PROJECT / ".bench", metavar="DIR", help="default: .bench")
    arguments = parser.parse_args()
    root = arguments.cache.resolve() / f"datasets-{arguments.packages}"
    root.mkdir(parents=True, exist_ok=True)
    try:
        result = measure(root, arguments.packages)
    finally:
        if not arguments.keep:
            shutil.rmtree(root)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    written = page.write()
    for key, value in result["summary"].items():
        print(f"{key:22} {value}")
    print(f"written: {RESULT.relative_to(PROJECT)}, {written.relative_to(PROJECT)}")
    if missed := [key for key, most in TARGETS.items() if result["summary"][key] > most]:
        sys.exit(f"missed: {', '.join(missed)}")


def measure(root: Path, packages: int) -> Figures:
    """Return the result for a mirror of so many `packages` below `root`, which is made there unless it is there."""
    complete = root / "complete"
    if not complete.exists():
        needed, free = packages * (MEAN_BYTES + 4096), shutil.disk_usage(root).free
        if needed > free:
            sys.exit(f"error: {packages} documents need {needed >> 30} GiB and {root} has {free >> 30}: take fewer")
    world = World(Mirror(root / "mirror"), packages)
    if not complete.exists():
        shutil.rmtree(world.mirror.root, ignore_errors=True)
        world.write_all()
        complete.touch()
    with tempfile.TemporaryDirectory(prefix="state-", dir=root) as state:
        _run(_decode, world.mirror, state)  # not measured: it brings the documents into the page cache
        decode = _run(_decode, world.mirror, state)
        full = _run(_regenerate, world.mirror, state)
        unchanged = _run(_regenerate, world.mirror, state)
        count = world.change(CHANGED)
        changed = _run(_regenerate, world.mirror, state)
    runs = {"decode": decode, "full": full, "unchanged": unchanged, "changed_500": changed}
    for name, expected in (("full", packages), ("unchanged", 0), ("changed_500", count)):
        if runs[name]["documents_read"] != expected:
            sys.exit(f"error: {name}: {runs[name]['documents_read']} documents were read instead of {expected}")
    return {
        "summary": {
            "packages": packages,
            "full_ratio_to_decode": round(full["seconds"] / decode["seconds"], 2),
            "full_peak_mb": full["peak_mb"],
            "changed_500_s": changed["seconds"],
            "changed_500_peak_mb": changed["peak_mb"],
            "unchanged_s": unchanged["seconds"],
        },
        "settings": {
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "mean_document_bytes": MEAN_BYTES,
        },
        "runs": runs,
    }


def _run(step: Callable[[Mirror, Path], Figures], mirror: Mirror, state: str) -> Figures:
    """Return what `step` says, the seconds it took, and the peak memory of its process in megabytes (10^6 bytes)."""
    print(f"{step.__name__.strip('_')} ...", end=" ", flush=True)
    command = [sys.executable, str(Path(__file__)), step.__name__, str(mirror.root), state]
    figures: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"{figures['seconds']} s, {figures['peak_mb']} MB")
    return figures


def _in_this_process(step: str, root: str, state: str) -> None:
    started = time.perf_counter()
    figures = {"_decode": _decode, "_regenerate": _regenerate}[step](Mirror(Path(root)), Path(state))
    figures["seconds"] = round(time.perf_counter() - started, 3)
    figures["peak_mb"] = peak_mb()
    print(json.dumps(figures))


def peak_mb() -> int:
    """Return the most memory that this process has had so far, in megabytes (10^6 bytes)."""
    # Not getrusage: what that tells can be the memory of the parent before it became this program.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) * 1024 / 1e6)


def _decode(mirror: Mirror, _: Path) -> Figures:
    return {"documents_read": sum(1 for _ in mirror.documents())}


def _regenerate(mirror: Mirror, directory: Path) -> Figures:
    """All steps of the DAG but download stats and upload, one after the other."""
    steps: dict[str, Callable[[], Any]] = {
        "extract": lambda: datasets.write_extract(mirror, directory),
        "package_list": lambda: datasets.write_package_list(mirror, directory),
        "dependencies": lambda: datasets.write_dependencies(directory),
        "aura_dataset": lambda: datasets.write_aura_dataset(directory),
        "checksums": lambda: datasets.write_checksums(directory),
    }
    results, seconds = {}, {}
    for name, step in steps.items():
        started = time.perf_counter()
        results[name] = step()
        seconds[name] = round(time.perf_counter() - started, 3)
    return {"documents_read": results["extract"]["read"], "steps": seconds}


def release_file(name: str, version: str) -> dict[str, Any]:
    """A release file, as PyPI's JSON has it."""
    return {
        "comment_text": None,
        "digests": {"blake2b_256": "0" * 64, "md5": "0" * 32, "sha256": "0" * 64},
        "downloads": -1,
        "filename": f"{name}-{version}.tar.gz",
        "has_sig": False,
        "md5_digest": "0" * 32,
        "packagetype": "sdist",
        "python_version": "source",
        "requires_python": ">=3.9",
        "size": 12345,
        "upload_time": "2026-01-01T00:00:00",
        "upload_time_iso_8601": "2026-01-01T00:00:00.000000Z",
        "url": f"https://files.example/packages/ab/cd/{'0' * 60}/{name}-{version}.tar.gz",
        "yanked": False,
        "yanked_reason": None,
    }


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("_decode", "_regenerate"):
        _in_this_process(*sys.argv[1:])
    else:
        main()
