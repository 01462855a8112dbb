# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine spends its time on: a profile of scans, summed up by the kind of work.

usage: profile_engine.py SCRIPTS SHARD WEB DIRECTORY

Scans every package of SHARD in a process of its own, below DIRECTORY. Prints a JSON object: seconds by area. To be run
by the scanner's own interpreter. A profiler makes calls of Python functions look dearer than they are, and leaves what
happens in C as it is.
"""

import cProfile
import json
import os
import pstats
import sys
import tempfile
from collections import Counter
from pathlib import Path

scripts, shard_file, web, directory = sys.argv[1:]
sys.path.insert(0, scripts)

import aura_engine  # noqa: E402
import jsonl  # noqa: E402
import records  # noqa: E402
from mirror_view import visible_document  # noqa: E402
from shard import Package, read_shard  # noqa: E402

OTHER = "everything else"
# The first that is in the path of a function's file, or is its name if it is built in, says what it is about.
AREAS = (
    ("making syntax trees", ("faster_source", "python_src_inspector", "builtins.compile", "/ast.py")),
    ("what analyzers do with strings", ("faster_strings", "faster_literals", "detect_redos", "/re/", "data_finder.py")),
    ("what analyzers do with strings", ("python/misc.py", "python/secrets.py", "python/sqli.py", "tlsh", "hashlib")),
    ("files and paths", ("faster_files",)),
    ("walking over syntax trees", ("faster_", "aura/analyzers/python/", "pattern_matching", "robust_aura")),
    ("files and paths", ("uri_handlers", "pathlib", "/magic/", "fs_struct", "posix.", "io.open", "codecs", "utils.py")),
    ("unpacking", ("unpack", "zipfile", "tarfile", "zlib", "gzip", "lzma")),
    ("records", ("records.py", "jsonl", "/json/", "detections.py", "analyse_once")),
)


def area(function: tuple[str, int, str]) -> str | None:
    """Return the area of a function (file, line, name), None if it is built in and says nothing of its own."""
    file, _, name = function
    text = name if file == "~" else file
    for title, parts in AREAS:
        if any(part in text for part in parts):
            return title
    return None if file == "~" else OTHER


def by_area(stats: pstats.Stats) -> Counter[str]:
    """Return the seconds of each area; what is built in counts where it was called, unless it is an area itself."""
    seconds: Counter[str] = Counter()
    for function, (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        title = area(function)
        if title is not None:
            seconds[title] += own
            continue
        for caller, (_, _, there, _) in callers.items():
            seconds[area(caller) or OTHER] += there
    return seconds


def profile(package: Package, place: Path) -> None:
    """Scan `package` in the directory `place`, and leave the profile beside it."""
    place.mkdir()
    tempfile.tempdir = str(place)
    os.chdir(place)
    profiler = cProfile.Profile()
    profiler.enable()
    found = aura_engine.scan(package.name, visible_document(package, package.files))
    places = records.Places(Path(web), place, found.unpacked)
    jsonl.line(records.make_record(package, package.files, found.output, places, aura_engine.to_json))
    profiler.disable()
    profiler.dump_stats(f"{place}.prof")


if __name__ == "__main__":
    aura_engine.prepare(Path(web), None)
    total: Counter[str] = Counter()
    for package in read_shard(Path(shard_file)).packages:
        place = Path(directory, package.name)
        pid = os.fork()
        if pid == 0:
            profile(package, place)
            os._exit(0)
        os.waitpid(pid, 0)
        total += by_area(pstats.Stats(f"{place}.prof"))
    print(json.dumps({title: round(seconds, 2) for title, seconds in total.most_common()}))
