"""How packages ended, told by the results of shards and, of a packed scan, by its Parquet edition."""

import pytest

from pypi_scan.monitor.outcomes import Example, dataset_outcomes, reason_group, shard_outcomes

LONG = 60.0  # seconds within which a small scan is read


@pytest.fixture
def scan(make_scan):
    """A collected scan of two shards; each lacks a file of one package, and one package timed out."""
    scan = make_scan({f"p{number}": None for number in range(8)}, shards=2)
    for number, shard in enumerate(scan.division.shard_ids):
        made = scan.results(shard)
        for place, status in enumerate(made.statuses):
            status |= {"seconds": 10.0 * place + number, "bytes": min(place + number, 1)}
        made.fail(made.statuses[0]["name"], "missing_file")
        made.statuses[0]["reason"] = f"1 of {number + 2} files are not there, first packages/ab/{number}.whl"
        if number:
            made.fail(made.statuses[1]["name"], "timeout")
        made.accept()
    return scan


def results(scan):
    return [scan.directory / "results" / shard for shard in scan.division.shard_ids]


def test_shards_and_the_packed_dataset_tell_the_same(scan):
    of_shards = shard_outcomes(results(scan), LONG)
    scan.pack()
    of_dataset = dataset_outcomes(scan.directory / "dataset", {}, LONG)
    assert of_dataset.by_status == of_shards.by_status == {"ok": 5, "missing_file": 2, "timeout": 1}
    assert [cost.seconds for cost in of_dataset.slowest] == [cost.seconds for cost in of_shards.slowest]
    assert of_dataset.slowest[0].seconds == 31
    assert [(one.status, one.reason, one.packages) for one in of_dataset.failures] == [
        (one.status, one.reason, one.packages) for one in of_shards.failures
    ]


def test_of_a_dataset_that_cannot_be_read_the_manifest_tells(scan):
    scan.pack()
    (scan.directory / "dataset" / "packages.parquet").write_bytes(b"PAR1")
    outcomes = dataset_outcomes(scan.directory / "dataset", {"ok": 5}, LONG)
    assert (outcomes.by_status, outcomes.unread) == ({"ok": 5}, 0)


def test_failures_are_grouped_by_what_their_reasons_have_in_common(scan):
    missing, timeout = shard_outcomes(results(scan), LONG).failures
    assert (missing.packages, missing.reason) == (2, "N of N files are not there, first …")
    assert {example.reason for example in missing.examples} == {
        "1 of 2 files are not there, first packages/ab/0.whl",
        "1 of 3 files are not there, first packages/ab/1.whl",
    }
    assert timeout.examples == [Example(timeout.examples[0].package, "for a reason")]


def test_a_reason_is_not_kept_at_any_length():
    assert len(reason_group("x" * 2000)) == 200


def test_what_a_worker_lied_about_is_left_out_and_the_rest_shown(scan):
    first, second = results(scan)
    (first / "status.jsonl").write_text('{"name": "p0", "status": "<script>"}\n')
    assert shard_outcomes([first, second], LONG).packages == 4


def test_a_shard_that_is_collected_again_is_read_again(scan):
    first, _ = results(scan)
    before = shard_outcomes([first], LONG).packages
    lines = (first / "status.jsonl").read_bytes().splitlines(keepends=True)
    (first / "status.jsonl").write_bytes(b"".join(lines[:-1]))
    assert shard_outcomes([first], LONG).packages == before - 1
