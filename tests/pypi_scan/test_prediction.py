"""What a package will cost: as measured, else as guessed."""

import threading
from pathlib import Path

import pytest

from pypi_scan.prediction import CostModel, CostsError, Measured, record_costs
from pypi_scan.status import PackageStatus, ScannedFile, Status


def scanned(name: str, cpu_seconds: float, size: int = 1000, status: Status = "ok") -> PackageStatus:
    file = ScannedFile("packages/x.whl", "0" * 64, size)
    return PackageStatus(name, "1.0", status, None, cpu_seconds=cpu_seconds, bytes=size, files=[file])


def test_a_package_costs_what_it_did_cost() -> None:
    model = CostModel({"a": Measured(12.5, 3, 40_000)})
    assert model.cost("a", 3, 40_000) == 12.5


def test_another_version_costs_more_if_it_is_larger_within_bounds() -> None:
    model = CostModel({"a": Measured(10.0, 1, 1_000_000)})
    assert 10 < model.cost("a", 1, 2_000_000) < 20
    assert 5 < model.cost("a", 1, 500_000) < 10
    assert model.cost("a", 1, 10**12) == 40
    assert model.cost("a", 1, 0) == 2.5


def test_a_guess_grows_with_bytes_and_counts_the_same_source_once() -> None:
    model = CostModel({})
    assert 0 < model.cost("a", 0, 0) < model.cost("a", 1, 10_000) < model.cost("a", 1, 1_000_000)
    assert model.cost("a", 1, 100_000) < model.cost("a", 9, 900_000) < 3 * model.cost("a", 1, 100_000)


def test_guesses_agree_in_sum_with_what_was_measured() -> None:
    guessed = CostModel({})
    sizes = {f"p{number}": 1000 * (number + 1) for number in range(1000)}
    history = {name: Measured(3 * guessed.cost(name, 1, size), 1, size) for name, size in sizes.items()}
    calibrated = CostModel(history)
    assert calibrated.cost("new", 1, 50_000) == pytest.approx(3 * guessed.cost("new", 1, 50_000), rel=0.15)


def test_a_few_scans_or_one_that_ran_away_do_not_spoil_the_guesses() -> None:
    guess = CostModel({}).cost("new", 1, 50_000)
    assert CostModel({"a": Measured(1200.0, 1, 1000)}).cost("new", 1, 50_000) == pytest.approx(guess, rel=0.05)
    history = {f"p{number}": Measured(guess, 1, 50_000) for number in range(1000)} | {"a": Measured(1e6, 1, 50_000)}
    assert CostModel(history).cost("new", 1, 50_000) == pytest.approx(guess, rel=0.05)


def test_what_scans_did_cost_is_kept_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "state" / "costs.sqlite"
    assert CostModel.load(path).cost("a", 1, 1000) == CostModel({}).cost("a", 1, 1000)
    assert not path.exists()
    path.parent.mkdir()
    path.touch()  # as a first writer leaves it until it is done
    assert CostModel.load(path).cost("a", 1, 1000) == CostModel({}).cost("a", 1, 1000)
    record_costs(path, [scanned("a", 3.0), scanned("b", 900.0, status="timeout")])
    record_costs(path, [scanned("a", 5.0), scanned("b", 7.0, status="reused"), scanned("c", 0.0, status="skipped")])
    model = CostModel.load(path)
    assert (model.cost("a", 1, 1000), model.cost("b", 1, 1000)) == (5.0, 900.0)
    assert model.cost("c", 1, 1000) == model.cost("never seen", 1, 1000)


def test_several_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "costs.sqlite"
    failures: list[Exception] = []

    def write(writer: int) -> None:
        try:
            for number in range(20):
                record_costs(path, [scanned(f"p{writer}-{number}", 2.0)])
        except CostsError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    model = CostModel.load(path)
    assert all(model.cost(f"p{writer}-{number}", 1, 1000) == 2.0 for writer in range(8) for number in range(20))


def test_damaged_costs_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "costs.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(CostsError, match="remove it"):
        CostModel.load(path)
    with pytest.raises(CostsError, match="remove it"):
        record_costs(path, [scanned("a", 1.0)])


def test_a_package_that_was_never_scanned_may_cost_much_more() -> None:
    model = CostModel({"seen": Measured(5.0, 1, 10_000)})
    assert model.may_cost("seen", 1, 10_000) == model.cost("seen", 1, 10_000) == 5.0
    assert model.may_cost("unseen", 1, 10_000) == pytest.approx(10 * model.cost("unseen", 1, 10_000))
