"""Release files from somebody who means harm, or whose disk was full: each is one status, and harms nobody else."""

import gzip
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from .conftest import Shard, sdist, wheel
from .hostile_archives import (
    chained_headers,
    damaged,
    empty_by_its_directory,
    encrypted,
    endless,
    negative_size,
    packed_as,
    special,
    tar_bomb,
    tar_of,
    with_directories,
    zip_bomb,
    zip_of,
)
from .patched_scan import scan_with
from .test_scan_shard import processes_in, records, statuses

MIB = 2**20
GIB = 2**30
MEMORY = 1024  # MiB a package
# Of a package, and of one of its files, in the scan of LIMITED; nothing takes half the time and then comes to an end.
MAX_BYTES, FILE_BYTES, MAX_MEMBERS, SECONDS = 64 * MIB, 51 * MIB, 200, 10
WHEEL, SDIST = "-py3-none-any.whl", ".tar.gz"
ONE, OTHER, THIRD = b"import socket\n", b"import pickle\n", b"import ctypes\n"
BOTH = ("pickle", "socket")
DAMAGED, UNKNOWN = ("archive_read_error",), ("unknown_format",)
NEIGHBOURS = {
    "aaa": wheel({"aaa/__init__.py": "import os\nos.system('true')\n", "aaa/data.txt": "text\n"}),
    "zzz": wheel({"zzz.py": "import json\nKEY = 'secret-token-of-zzz'\n"}),
}
SHELL = "x; touch pwned; $(touch pwned) `touch pwned`"
TEXT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 4
NOISE = random.Random(0).randbytes(4096)
PLAIN = tar_of([("one.py", ONE), ("noise", NOISE), ("other.py", OTHER)], "")
PACKED = tar_of([("one.py", ONE), ("noise", NOISE), ("other.py", OTHER)])


@dataclass(frozen=True)
class Case:
    """A package with one file, and what is to come of it.

    Its record, if it has one, names just these imported modules, these reasons of ``ArchiveAnomaly``, and these
    analyzers that failed.
    """

    ending: str
    file: bytes
    status: str | tuple[str, ...] = "ok"
    modules: tuple[str, ...] = ("socket",)
    reasons: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def sources(**files: str | bytes) -> bytes:
    """Return an sdist with these Python files and one that imports socket."""
    return sdist({"x-1.0/zz_last.py": ONE, **{f"x-1.0/{name}.py": content for name, content in files.items()}})


BROKEN = {
    "truncated-wheel": Case(WHEEL, wheel({"a.py": ONE})[:-30], "corrupt", (), DAMAGED),
    "truncated-sdist": Case(SDIST, PACKED[: len(PACKED) // 2], "corrupt", reasons=DAMAGED),
    "bad-crc": Case(
        WHEEL,
        damaged(zip_of([("a.py", ONE), ("b.py", TEXT), ("c.py", OTHER)], zipfile.ZIP_STORED), TEXT),
        "corrupt",
        BOTH,
        DAMAGED,
    ),
    "damaged-gzip": Case(SDIST, PACKED[:2000] + bytes(64) + PACKED[2064:], "corrupt", reasons=DAMAGED),
    "encrypted": Case(WHEEL, encrypted(wheel({"a.py": OTHER, "b.py": ONE})), "corrupt", reasons=DAMAGED),
    "unknown-method": Case(WHEEL, packed_as(wheel({"a.py": OTHER, "b.py": ONE}), 98), "corrupt", reasons=DAMAGED),
    "hidden-content": Case(
        WHEEL,
        empty_by_its_directory(zip_of([("a.py", OTHER), ("b.py", ONE)], zipfile.ZIP_STORED)),
        "corrupt",
        reasons=DAMAGED,
    ),
    "broken-name": Case(
        WHEEL, wheel({"\u2603.py": ONE}).replace("\u2603".encode(), b"\xff\xff\xff"), "corrupt", (), DAMAGED
    ),
    "no-bytes": Case(WHEEL, b"", "corrupt", (), UNKNOWN),
    "no-archive": Case(SDIST, b"not an archive at all " * 50, "corrupt", (), UNKNOWN),
    "no-members": Case(".zip", wheel({}), "corrupt", (), DAMAGED),
    "junk-between": Case(".tar", PLAIN[:1024] + b"J" * 512 + PLAIN[1024:], "corrupt", reasons=DAMAGED),
    "negative-size": Case(".tar", negative_size(PLAIN, 1024), "corrupt", reasons=DAMAGED),
    "chained-headers": Case(SDIST, gzip.compress(chained_headers(PLAIN, 1200)), "corrupt", (), DAMAGED),
}
OTHERWISE = {
    "zip-named-sdist": Case(SDIST, wheel({"a.py": ONE})),
    "sdist-named-wheel": Case(WHEEL, sdist({"a.py": ONE})),
    "both-in-one": Case(SDIST, sdist({"a.py": ONE}) + wheel({"b.py": OTHER}), modules=BOTH),
    "behind-a-program": Case(".exe", b"MZ" + bytes(500) + wheel({"a.py": ONE})),
    "behind-a-script": Case(WHEEL, b"#!/bin/sh\nexit\n" + wheel({"a.py": ONE})),
    "behind-a-picture": Case(SDIST, b"\xff\xd8\xff\xe0" + bytes(500) + wheel({"a.py": ONE})),
    "plain-tar": Case(".tar", PLAIN, modules=BOTH),
    "tar-xz": Case(".tar.xz", tar_of([("a.py", ONE)], "xz")),
    "tar-bz2": Case(".tar.bz2", tar_of([("a.py", ONE)], "bz2")),
    "nested": Case(
        SDIST,
        tar_of(
            [
                ("a.tar.xz", tar_of([("a.py", ONE)], "xz")),
                ("b.tar", tar_of([("b.py", OTHER)], "")),
                ("c.xz", lzma.compress(b"no archive")),
            ]
        ),
        modules=BOTH,
    ),
    "tar-z": Case(".tar.Z", b"\x1f\x9d\x90" + bytes(200), "skipped", (), UNKNOWN),
    "rpm": Case(".rpm", b"\xed\xab\xee\xdb\x03\x00" + bytes(200), "skipped", (), UNKNOWN),
}
AIMED = {
    "links": Case(
        SDIST,
        tar_of(
            [
                special("passwd", tarfile.SYMTYPE, "/etc/passwd"),
                special("hard", tarfile.LNKTYPE, "/etc/passwd"),
                special("out", tarfile.SYMTYPE, "../../.."),
                ("out/pwned.py", OTHER),
                ("one.py", ONE),
            ]
        ),
        modules=BOTH,
        reasons=("member_is_link",) * 3,
    ),
    "devices": Case(
        SDIST,
        tar_of(
            [
                special("null", tarfile.CHRTYPE),
                special("disk", tarfile.BLKTYPE),
                special("pipe", tarfile.FIFOTYPE),
                ("one.py", ONE),
            ]
        ),
        reasons=("member_is_special",) * 3,
    ),
    "duplicates": Case(
        WHEEL,
        zip_of([("a.py", ONE), ("a.py", OTHER), ("./a.py", THIRD)]),
        modules=("ctypes", *BOTH),
        reasons=("duplicate_member",),
    ),
    "duplicates-in-tar": Case(
        SDIST, tar_of([("a.py", ONE), ("a.py", OTHER)]), modules=BOTH, reasons=("duplicate_member",)
    ),
    "file-then-directory": Case(WHEEL, zip_of([("a", TEXT), ("a/b.py", ONE)]), reasons=("duplicate_member",)),
    "directory-then-file": Case(
        SDIST, tar_of([("a.py/b.py", OTHER), ("a.py", ONE)]), "ok", BOTH, ("duplicate_member",)
    ),
    "deep-directories": Case(SDIST, tar_of([("d/" * 1200 + "a.py", OTHER), ("one.py", ONE)]), modules=BOTH),
    "long-name": Case(SDIST, tar_of([("n" * 300 + ".py", OTHER), ("one.py", ONE)]), "corrupt", reasons=DAMAGED),
    "odd-names": Case(
        SDIST,
        tar_of([("caf\udce9.py", ONE), (f"{SHELL}.py", OTHER), ("a\nb\x7f\x01\\.py", THIRD)]),
        modules=("ctypes", *BOTH),
    ),
    "zip-bomb": Case(WHEEL, zip_bomb("zeros.py", 10 * GIB), "too_large", (), ("file_size_exceeded",)),
    "tar-bomb": Case(SDIST, tar_bomb("zeros.py", 10 * GIB), "too_large", (), ("total_size_exceeded",)),
}
CONTENTS = {
    "nul-bytes": Case(SDIST, sources(nul=b"import pickle\n\0\n")),
    "latin-1": Case(
        SDIST, sources(a="# coding: latin-1\nimport pickle\nx = 'caf\xe9'\n".encode("latin-1")), modules=BOTH
    ),
    "latin-1-undeclared": Case(SDIST, sources(a="import pickle\nx = 'caf\xe9'\n".encode("latin-1"))),
    "surrogates": Case(
        SDIST,
        sources(a='import pickle\nA = "\\ud800' + "x" * 200 + '"\npassword = "\\udc80pass"\n'),
        modules=BOTH,
    ),
    "deep-parentheses": Case(SDIST, sources(a="x = " + "(" * 5000 + "1" + ")" * 5000, b="x = " + "-" * 20_000 + "1")),
    "deep-dicts": Case(
        SDIST, sources(a="x = " + "{1:" * 5000 + "1" + "}" * 5000, b="x = " + "{1:" * 90 + "1" + "}" * 90)
    ),
    "long-line": Case(SDIST, sdist({"x-1.0/one.py": ONE, "x-1.0/line.txt": b"x" * 50 * MIB})),
}
CASES = BROKEN | OTHERWISE | AIMED | CONTENTS
# With less room, and less time: what comes to an end or not as the scanner gets faster may be either.
LIMITED = {
    "hundred-thousand": Case(
        WHEEL, with_directories(zip_of([("one.py", ONE)]), 100_000), "too_large", reasons=("too_many_members",)
    ),
    "many-files": Case(
        SDIST,
        tar_of([("one.py", ONE), *((f"{number}.txt", b"x") for number in range(MAX_MEMBERS)), ("other.py", OTHER)]),
        "too_large",
        reasons=("too_many_members",),
    ),
    "many-parents": Case(
        SDIST, tar_of([("one.py", ONE), ("d/" * 300 + "a.py", OTHER)]), "too_large", reasons=("too_many_members",)
    ),
    "too-much": Case(
        WHEEL,
        zip_of([("one.py", ONE), *((f"{number}.bin", bytes(20 * MIB)) for number in range(4)), ("other.py", OTHER)]),
        "too_large",
        reasons=("total_size_exceeded",),
    ),
    "large-file": Case(
        SDIST,
        tar_of([("one.py", ONE), ("zeros.bin", bytes(52 * MIB)), ("other.py", OTHER)]),
        "too_large",
        BOTH,
        ("file_size_exceeded",),
    ),
    "nested-bomb": Case(
        WHEEL,
        zip_of(
            [
                ("one.py", ONE),
                *(
                    (f"{number}.zip", zip_of([(f"{inner}.bin", bytes(4 * MIB)) for inner in range(10)]))
                    for number in range(3)
                ),
            ]
        ),
        "too_large",
        reasons=("total_size_exceeded",) * 2,
    ),
    "endless": Case(WHEEL, endless(), "timeout"),
    "literal-list": Case(SDIST, sources(a="x = [" + "1, " * MIB + "]\n"), ("ok", "timeout", "memory")),
    "long-source-line": Case(SDIST, sources(a="x = '" + "ab " * 16 * MIB + "'\n"), ("ok", "timeout", "memory")),
}


@dataclass(frozen=True)
class Scanned:
    """What a scan has left."""

    directory: Path
    output: Path
    statuses: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]


def scan(directory: Path, python: Path, cases: Mapping[str, Case], statements: str = "", **options: object) -> Scanned:
    shard = Shard(directory)
    for name, data in NEIGHBOURS.items():
        shard.add(name, {f"{name}-1.0{WHEEL}": data})
    for name, case in cases.items():
        shard.add(name, {f"{name}-1.0{case.ending}": case.file})
    if cases is CASES:
        above = f"{'../' * 20}{directory}/pwned.py".replace("//", "/")
        members = [(above, OTHER), (f"{directory}/pwned.py", OTHER), ("a/../../pwned.py", OTHER), ("one.py", ONE)]
        shard.add("escapes", {"escapes-1.0.tar.gz": tar_of(members), f"escapes-1.0{WHEEL}": zip_of(members)})
        shard.add(SHELL, {"x-1.0.tar.gz": tar_of([("other.py", OTHER)])})
    output = directory / "output"
    mirror = shard.web.parent
    done = scan_with(python, statements, shard=shard.write(), cache=mirror, output=output, memory=MEMORY, **options)
    assert done.returncode == 0, done.stderr
    return Scanned(directory, output, statuses(output), {record["pypi"]["name"]: record for record in records(output)})


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, worker_python: Path) -> Scanned:
    """All of CASES, and a few more, scanned with the limits that real scans have."""
    return scan(tmp_path_factory.mktemp("usual"), worker_python, CASES)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, worker_python: Path) -> Scanned:
    """All of LIMITED."""
    statements = f"""
import aura_engine, unpack
unpack.MAX_BYTES, unpack.MAX_MEMBERS = {MAX_BYTES}, {MAX_MEMBERS}
aura_engine.config.CFG["aura"]["max-archive-size"] = {FILE_BYTES}
"""
    return scan(tmp_path_factory.mktemp("limited"), worker_python, LIMITED, statements, timeout=SECONDS)


def check(case: Case, status: dict[str, Any], record: dict[str, Any] | None) -> None:
    allowed = case.status if isinstance(case.status, tuple) else (case.status,)
    assert status["status"] in allowed, status
    assert (status["reason"] is None) == (status["status"] == "ok")
    assert status["peak_memory_bytes"] < MEMORY * MIB
    assert (record is not None) == (status["status"] not in ("timeout", "memory"))
    if record is None:
        return
    assert record["imported_modules"] == sorted(case.modules)
    anomalies = [d["extra"]["reason"] for d in record["detections"] if d["type"] == "ArchiveAnomaly"]
    assert anomalies == list(case.reasons)
    assert [d["extra"]["analyzer"] for d in record["detections"] if d["type"] == "AnalysisError"] == list(case.failed)


def lines(output: Path) -> list[bytes]:
    with zstandard.open(output / "records.jsonl.zst", "rb") as file:
        return file.read().splitlines(keepends=True)


@pytest.mark.parametrize("name", CASES)
def test_case(usual: Scanned, name: str) -> None:
    check(CASES[name], usual.statuses[name], usual.records.get(name))


@pytest.mark.parametrize("name", LIMITED)
def test_limited_case(limited: Scanned, name: str) -> None:
    check(LIMITED[name], limited.statuses[name], limited.records.get(name))


def test_neighbours_are_what_they_are_alone(
    usual: Scanned, limited: Scanned, tmp_path: Path, worker_python: Path
) -> None:
    alone = scan(tmp_path, worker_python, {})
    assert alone.statuses.keys() == NEIGHBOURS.keys()
    expected = lines(alone.output)
    assert len(expected) == len(NEIGHBOURS)
    for scanned in (usual, limited):
        assert [line for line in lines(scanned.output) if json.loads(line)["pypi"]["name"] in NEIGHBOURS] == expected


def test_nothing_escapes(usual: Scanned) -> None:
    record = usual.records["escapes"]
    assert usual.statuses["escapes"]["status"] == "ok"
    assert record["imported_modules"] == ["socket"]
    kinds = [d["extra"]["entry_type"] for d in record["detections"] if d["type"] == "SuspiciousArchiveEntry"]
    assert sorted(kinds) == ["absolute_path"] * 2 + ["parent_reference"] * 4
    assert usual.statuses[SHELL]["status"] == "skipped"
    assert not list(usual.directory.rglob("*pwned*"))
    assert not Path("pwned").exists()
    assert processes_in(usual.directory) == []


def test_names_that_are_no_utf8_stay_apart(usual: Scanned) -> None:
    locations = {detection.get("location", "") for detection in usual.records["odd-names"]["detections"]}
    assert [name for name in locations if name.endswith("$caf\\udce9.py")]


def test_limits_hold_for_what_is_unpacked(usual: Scanned, limited: Scanned) -> None:
    for name, record in limited.records.items():
        members = [
            d["extra"]["size"]
            for d in record["detections"]
            if d["type"] == "FileStats" and "$" in d["location"] and not d["location"].endswith("$blob")
        ]
        assert sum(members) <= MAX_BYTES, name
        assert len(members) <= MAX_MEMBERS, name
    for name in ("zip-bomb", "tar-bomb"):
        assert usual.statuses[name]["peak_memory_bytes"] < 200 * MIB
        assert usual.statuses[name]["cpu_seconds"] < 5


def test_nothing_stays(usual: Scanned, limited: Scanned) -> None:
    for scanned in (usual, limited):
        assert [path.name for path in (scanned.output / ".work").iterdir()] == ["journal.jsonl"]
        assert sum(path.stat().st_size for path in scanned.output.rglob("*") if path.is_file()) < 4 * MIB
