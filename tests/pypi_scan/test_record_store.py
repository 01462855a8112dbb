"""The store of records: what it gives back is what was put into it, under a key of all that it follows from."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pypi_scan import record_store
from pypi_scan.record_store import KeptRecord, RecordKeys, RecordStore, RecordStoreError
from pypi_scan.results import Scanner
from pypi_scan.shard import PlannedRelease, read_blocks

from .conftest import NOW, SCANNER


def kept(name: str) -> KeptRecord:
    """A record as it is kept."""
    record = {
        "detections": [], "imported_modules": [], "tags": [], "score": 0, "name": f"mirror://{name}",
        "metadata": {"uri_input": {"package": name, "package_name": name}},
        "pypi": {"name": name, "version": "1.0", "files": []},
    }  # fmt: skip
    return KeptRecord(msgspec.Raw(msgspec.json.encode(record)), 1.5, 1.25, 2**27, 1000)


KEYS = [bytes([number]) * 32 for number in range(200)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "records.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RecordStore]:
    with RecordStore(path, NOW) as store:
        yield store


def test_what_was_put_is_there_under_its_key(store: RecordStore, path: Path) -> None:
    store.put((key, kept(f"p{key[0]}")) for key in KEYS[:150])
    store.put([(KEYS[3], kept("another"))])
    store.remove([KEYS[4]])
    with RecordStore(path, NOW) as other:
        found = dict(other.get(KEYS))
    assert sorted(found) == [*KEYS[:4], *KEYS[5:150]]
    assert found[KEYS[7]] == kept("p7")
    assert found[KEYS[3]] == kept("another")


@pytest.fixture
def release(make_scan: Callable[..., Any]) -> PlannedRelease:
    (block,) = read_blocks(make_scan({"demo": None}).directory / "releases.jsonl.zst")
    return block[0]


def test_a_key_is_of_all_that_a_record_follows_from(release: PlannedRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = msgspec.structs.replace
    (file,) = release.files
    of_json = bytes(release.json).replace(b'"summary":null', b'"summary":"new"')
    assert of_json != bytes(release.json)
    releases = [
        release,
        replace(release, version="2.0"),
        replace(release, name="other"),
        replace(release, files=[replace(file, sha256="1" * 64)]),
        replace(release, files=[replace(file, upload_time="2026-02-01T00:00:00Z")]),
        replace(release, json=msgspec.Raw(of_json)),
    ]
    scanners = [
        SCANNER,
        replace(SCANNER, version="2.2"),
        replace(SCANNER, python="3.11.10"),
        replace(SCANNER, settings={**SCANNER.settings, "timeout": 60.0}),
        replace(SCANNER, settings={**SCANNER.settings, "scripts_sha256": "0" * 64}),
    ]
    keys = [RecordKeys(scanner).key(one) for one in releases for scanner in scanners]
    monkeypatch.setattr(record_store, "record_schema", lambda: {"title": "another"})
    record_store._schema_digest.cache_clear()
    keys.append(RecordKeys(SCANNER).key(release))
    monkeypatch.undo()
    record_store._schema_digest.cache_clear()
    assert len(set(keys)) == len(keys) == 31
    assert all(len(key) == 32 for key in keys)


def test_a_key_is_not_of_what_the_scanner_is_told_of_the_rest_of_pypi(release: PlannedRelease) -> None:
    told = Scanner(SCANNER.scanner, SCANNER.version, SCANNER.python, SCANNER.settings, {"pypi_stats.json": "1" * 64})
    assert RecordKeys(told).key(release) == RecordKeys(SCANNER).key(release)


def change(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as database:
        assert database.execute(statement, values).rowcount > 0
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET content = substr(content, 1, 20) WHERE key = ?",
        "UPDATE records SET content = 'text' WHERE key = ?",
        "UPDATE records SET (content, digest) = (SELECT content, digest FROM records LIMIT 1) WHERE key = ?",
    ],
)
@pytest.mark.parametrize(
    "look", [lambda store: [key for key, _ in store.get(KEYS)], lambda store: store.whole(KEYS)], ids=["get", "whole"]
)
def test_a_damaged_entry_is_as_good_as_none(
    store: RecordStore,
    path: Path,
    damage: str,
    look: Callable[[RecordStore], list[bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.put((key, kept(f"p{key[0]}")) for key in KEYS[:3])
    change(path, damage, KEYS[1])
    assert sorted(look(store)) == [KEYS[0], KEYS[2]]
    assert "damaged records are removed: 1;" in caplog.text
    caplog.clear()
    assert len(look(store)) == 2
    assert not caplog.text


def test_what_is_no_record_by_the_schema_of_today_is_as_good_as_none(store: RecordStore) -> None:
    no_record = KeptRecord(msgspec.Raw(b'{"detections":[]}'), 1.5, 1.25, 2**27, 1000)
    store.put([(KEYS[0], no_record), (KEYS[1], kept("p"))])
    assert [key for key, _ in store.get(KEYS)] == [KEYS[1]]
    assert store.whole(KEYS) == [KEYS[1]]


def test_what_is_not_used_for_long_is_removed(store: RecordStore, path: Path) -> None:
    store.put((key, kept("p")) for key in KEYS[:100])
    with RecordStore(path, NOW + timedelta(days=200)) as later:
        later.touch(KEYS[:10])
        later.put([(KEYS[10], kept("p"))])
        assert later.prune(200) == 0
    store.touch(KEYS[:1])  # by a clock that is behind
    with RecordStore(path, NOW + timedelta(days=201)) as later:
        assert later.prune(200) == 89
        assert sorted(key for key, _ in later.get(KEYS)) == KEYS[:11]


def test_several_may_write_at_once(store: RecordStore, path: Path) -> None:
    def write(number: int) -> None:
        with RecordStore(path, NOW) as own:
            for key in KEYS[number::8]:
                own.put([(key, kept("p"))])
                assert [found for found, _ in own.get([key])] == [key]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert len(list(store.get(KEYS))) == len(KEYS)


def test_a_database_that_is_none_gives_a_clear_error(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(RecordStoreError, match=r"records.sqlite is damaged: file is not a database; remove it, with"):
        RecordStore(path, NOW)


def test_a_database_damaged_within_gives_a_clear_error(store: RecordStore, path: Path) -> None:
    store.put((key, kept(f"p{key[0]}")) for key in KEYS)
    change(path, "UPDATE uses SET day = day")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(RecordStoreError, match=r"is damaged: .* every package is scanned again"),
        RecordStore(path, NOW) as other,
    ):
        list(other.get(KEYS))


def test_a_store_that_cannot_be_opened_gives_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordStoreError, match="cannot be used: unable to open database file"):
        RecordStore(tmp_path, NOW)
