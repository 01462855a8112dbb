from collections import Counter

import msgspec
import pytest

from pypi_scan.fleet import STRIKES, Capacity, Fleet, NoWorkerError


def fleet(shards=6, places=2, **capacities):
    made = Fleet(places)
    for name, capacity in (capacities or {"one": Capacity(4), "two": Capacity(4)}).items():
        made.admit(name, capacity)
    made.set_shards({f"{number:04}": 100.0 for number in range(1, shards + 1)})
    return made


def scan(fleet, shard, now, seconds):
    fleet.fetched(shard)
    fleet.started(shard, now)
    fleet.scanned(shard, now + seconds)
    fleet.done(shard)


def run(fleet, seconds):
    """Scan all shards with a clock of whole seconds; `seconds` says what a shard takes on each worker."""
    scanning = {}
    waiting = list(fleet.shards)
    for now in range(100_000):
        for name, (shard, end) in list(scanning.items()):
            if end == now:
                fleet.scanned(shard, now)
                fleet.done(shard)
                del scanning[name]
        waiting = [shard for shard in waiting if fleet.claim(shard, now) is None]
        for shard, state in fleet.shards.items():
            if state.worker and not state.done and state.started is None and state.worker not in scanning:
                fleet.started(shard, now)
                scanning[state.worker] = shard, now + seconds[state.worker]
        if all(shard.done for shard in fleet.shards.values()):
            return now
    raise AssertionError("it never ended")


def test_a_worker_gets_no_more_shards_than_it_has_room_for():
    some = fleet(places=2)
    claimed = Counter(some.claim(shard, 0) for shard in some.shards)
    assert claimed == {"one": 2, "two": 2, None: 2}
    shard = next(shard for shard, state in some.shards.items() if state.worker == "two")
    scan(some, shard, 0, 25)
    assert some.claim("0005", 25) == "two"


def test_the_first_of_those_that_wait_gets_the_room():
    some = fleet(only=Capacity(4), shards=5)
    for shard in ("0001", "0002", "0004", "0005"):  # 0003 does not ask yet
        some.claim(shard, 0)
    some.done("0001")
    assert some.claim("0005", 10) is None
    assert some.claim("0004", 10) == "only"
    some.done("0002")
    assert some.claim("0003", 20) == "only"
    some.done("0003")
    some.shards["0002"] = msgspec.structs.replace(some.shards["0005"], asked=25)  # it asked, and was killed
    assert some.claim("0005", 30) is None
    assert some.claim("0005", 90) == "only"


def test_a_shard_keeps_its_worker_when_it_is_asked_again():
    some = fleet()
    assert some.claim("0001", 0) == some.claim("0001", 5)
    assert sum(state.worker is not None for state in some.shards.values()) == 1


def test_a_slow_worker_gets_fewer_and_nobody_waits_for_it_at_the_end():
    some = fleet(shards=22, fast=Capacity(10), slow=Capacity(10, weight=0.1))
    assert run(some, {"fast": 10, "slow": 100}) == 200
    assert Counter(state.worker for state in some.shards.values()) == {"fast": 20, "slow": 2}


def test_a_worker_that_is_slower_than_it_says_is_found_out():
    some = fleet(shards=24, places=1, fast=Capacity(10), slow=Capacity(10))
    assert run(some, {"fast": 10, "slow": 100}) <= 230
    assert Counter(state.worker for state in some.shards.values())["slow"] <= 3


def test_a_worker_that_fails_again_and_again_is_left_out():
    some = fleet()
    for number in range(STRIKES):
        shard = f"{number + 1:04}"
        some.shards[shard].worker = "two"
        assert some.strike(shard, "no route to host", begin_again=True)
        assert some.shards[shard].worker is None
    assert "no route to host" in some.workers["two"].left_out
    assert {some.claim(shard, 0) for shard in some.shards} == {"one", None}


def test_a_shard_that_failed_on_one_worker_goes_to_another():
    some = fleet()
    first = some.claim("0001", 0)
    assert some.strike("0001", "out of room", begin_again=True)
    second = some.claim("0001", 0)
    assert {first, second} == {"one", "two"}
    assert not some.strike("0001", "out of room", begin_again=True), "it was everywhere, and stays"
    assert some.shards["0001"].worker == second


def test_the_last_worker_is_not_left_out():
    some = fleet(only=Capacity(2))
    some.claim("0001", 0)
    for _ in range(STRIKES + 1):
        assert not some.strike("0001", "no route to host", begin_again=True)
    assert some.workers["only"].usable
    assert some.shards["0001"].worker == "only"


def test_success_takes_strikes_back():
    some = fleet()
    for shard in ("0001", "0002", "0003"):
        some.shards[shard].worker = "one"
    some.strike("0001", "a reason", begin_again=True)
    some.strike("0002", "a reason", begin_again=True)
    scan(some, "0003", 0, 10)
    some.shards["0004"].worker = "one"
    some.strike("0004", "a reason", begin_again=True)
    assert some.workers["one"].usable


def test_a_drained_worker_finishes_what_it_has_and_a_new_one_joins():
    some = fleet()
    mine = [shard for shard in some.shards if some.claim(shard, 0) == "one"]
    some.drain_all_but({"two", "three"})
    some.admit("three", Capacity(4))
    for shard in mine:
        assert some.claim(shard, 0) == "one"
        scan(some, shard, 0, 10)
    rest = {some.claim(shard, 20) for shard in some.shards if shard not in mine}
    assert rest == {"two", "three"}


def test_without_workers_it_says_why():
    some = fleet()
    some.drain_all_but({"two"})
    some.leave_out("two", "shows another host key")
    with pytest.raises(NoWorkerError, match="one is drained; two shows another host key"):
        some.claim("0001", 0)


def test_a_shard_that_is_begun_again_is_claimed_anew():
    some = fleet(only=Capacity(2))
    some.claim("0001", 0)
    scan(some, "0001", 0, 10)
    assert some.claim("0001", 20) == "only"
    assert not some.shards["0001"].fetched
    assert some.shards["0001"].scans == ["only"]


def test_a_fleet_survives_a_file():
    some = fleet()
    some.claim("0001", 0)
    some.strike("0001", "a reason", begin_again=True)
    assert msgspec.json.decode(msgspec.json.encode(some), type=Fleet) == some
