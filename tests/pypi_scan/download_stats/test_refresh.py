"""The sources in order, what is refused, and what is kept."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from pypi_scan.download_stats.keep import open_kept, read_kept
from pypi_scan.download_stats.refresh import Refreshed, refresh_download_stats
from pypi_scan.download_stats.source import DownloadStatsError, PackageDownloads, Statistics, Window, latest_window

TODAY = date(2026, 11, 22)


class Given:
    """A source that gives what it was given; an error is raised."""

    def __init__(self, name: str, gives: dict[str, int] | str, window: Window | None = None) -> None:
        self.name = name
        self.asked: list[Window] = []
        self._gives = gives
        self._window = window

    def fetch(self, window: Window) -> Statistics:
        self.asked.append(window)
        if isinstance(self._gives, str):
            raise DownloadStatsError(f"{self.name}: {self._gives}")
        return Statistics(self._gives, self._window)


def packages(number: int) -> dict[str, int]:
    return {f"package-{n:04}": 10 + n for n in range(number)}


@pytest.fixture
def kept_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kept.jsonl"


def read_all(kept_file: Path) -> list[PackageDownloads]:
    with open_kept(kept_file) as opened:
        assert opened
        return list(opened[1])


def refresh(kept_file: Path, *sources: Given, today: date = TODAY) -> Refreshed:
    return refresh_download_stats(sources, kept_file, today)


def test_the_window_is_the_30_days_that_are_all_counted(kept_file: Path) -> None:
    source = Given("one", packages(2))
    refresh(kept_file, source)
    assert source.asked == [Window(date(2026, 10, 22), date(2026, 11, 20))]
    assert len(source.asked[0].dates) == 30


def test_what_is_kept_is_ranked_behind_a_line_that_says_where_it_comes_from(kept_file: Path) -> None:
    window = latest_window(TODAY)
    result = refresh(kept_file, Given("one", {"zz": 5, "big": 9, "aa": 5}, window))
    assert json.loads(json.dumps(result)) == {
        "source": "one",
        "window_start": "2026-10-22",
        "window_end": "2026-11-20",
        "packages": 3,
        "downloads": 19,
        "changed": True,
    }
    header, *lines = kept_file.read_bytes().splitlines()
    assert json.loads(header) == {
        "source": "one",
        "window": {"start": "2026-10-22", "end": "2026-11-20"},
        "fetched": "2026-11-22",
        "packages": 3,
        "downloads": 19,
    }
    assert [tuple(json.loads(line).values()) for line in lines] == [("big", 9), ("aa", 5), ("zz", 5)]


def test_the_first_source_that_answers_is_taken(kept_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    down, up, unneeded = Given("down", "quota"), Given("up", packages(3)), Given("unneeded", packages(3))
    assert refresh(kept_file, down, up, unneeded)["source"] == "up"
    assert unneeded.asked == []
    assert "No download statistics from down: down: quota" in caplog.text


@pytest.mark.parametrize(
    ("gives", "window", "message"),
    [
        ({}, None, "no package was downloaded"),
        ({"a": 0, "b": 0}, None, "no package was downloaded"),
        (packages(49), None, "49 packages, less than half of the 100 that are kept from good"),
        (packages(100), Window(date(2026, 10, 21), date(2026, 11, 19)), "ends with 2026-11-19, before what is kept"),
    ],
)
def test_what_cannot_be_true_is_refused_and_the_last_good_stays(
    kept_file: Path, gives: dict[str, int], window: Window | None, message: str
) -> None:
    refresh(kept_file, Given("good", packages(100), latest_window(TODAY)))
    before = kept_file.read_bytes()
    with pytest.raises(DownloadStatsError, match=f"good gave is kept, 5 days old: bad: .*{message}.*; gone: 404"):
        refresh(kept_file, Given("bad", gives, window), Given("gone", "404"), today=TODAY + timedelta(3))
    assert kept_file.read_bytes() == before
    after = Given("next", packages(100), latest_window(TODAY))
    assert refresh(kept_file, Given("bad", gives, window), after)["source"] == "next"


def test_a_month_after_the_last_good_ones_a_short_list_is_better(kept_file: Path) -> None:
    refresh(kept_file, Given("good", packages(100), latest_window(TODAY)))
    short = Given("short", packages(10), Window(date(2026, 10, 2), date(2026, 10, 31)))
    with pytest.raises(DownloadStatsError, match="30 days old"):
        refresh(kept_file, short, today=date(2026, 12, 20))
    assert refresh(kept_file, short, today=date(2026, 12, 21))["source"] == "short"


def test_nothing_at_all_is_an_error_that_says_so(kept_file: Path) -> None:
    with pytest.raises(DownloadStatsError, match="none are kept: one: 404; two: quota"):
        refresh(kept_file, Given("one", "404"), Given("two", "quota"))
    assert not kept_file.exists()


def test_the_same_statistics_again_are_no_change_but_their_date_is_kept(kept_file: Path) -> None:
    window = latest_window(TODAY)
    refresh(kept_file, Given("one", packages(3), window))
    assert refresh(kept_file, Given("one", packages(3), window), today=TODAY + timedelta(1))["changed"] is False
    kept = read_kept(kept_file)
    assert kept
    assert kept.fetched == TODAY + timedelta(1)


@pytest.mark.parametrize("what", ["count", "window", "source"])
def test_anything_else_is_a_change(kept_file: Path, what: str) -> None:
    window = latest_window(TODAY)
    refresh(kept_file, Given("one", packages(3), window))
    again = {
        "count": Given("one", {**packages(3), "package-0000": 11}, window),
        "window": Given("one", packages(3), Window(window.start + timedelta(1), window.end + timedelta(1))),
        "source": Given("two", packages(3), window),
    }
    assert refresh(kept_file, again[what])["changed"] is True


def test_who_reads_what_is_kept_is_not_disturbed_by_a_refresh(kept_file: Path) -> None:
    refresh(kept_file, Given("one", packages(3)))
    with open_kept(kept_file) as opened:
        assert opened
        refresh(kept_file, Given("two", {"other": 1, "another": 1}))
        assert (opened[0].source, len(list(opened[1]))) == ("one", 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "line 1"),
        (lambda content: b"{}" + content, "line 1"),
        (lambda content: content[:-5], "line 4"),
        (lambda content: content[: content[:-1].rindex(b"\n") + 1], "line 3: 2 packages where there should be 3"),
    ],
)
def test_a_damaged_file_is_named(kept_file: Path, damage: object, message: str) -> None:
    refresh(kept_file, Given("one", packages(3)))
    kept_file.write_bytes(damage(kept_file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DownloadStatsError, match=f"damaged: .*kept.jsonl, {message}.*remove the file"):
        read_all(kept_file)


def test_names_and_counts_come_back_as_they_were_kept(kept_file: Path) -> None:
    refresh(kept_file, Given("one", {"a": 1, "b": 10**12}))
    assert read_all(kept_file) == [PackageDownloads("b", 10**12), PackageDownloads("a", 1)]
