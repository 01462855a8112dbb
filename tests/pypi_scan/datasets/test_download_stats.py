"""The published download statistics, their origin beside them, and their age in the log."""

import gzip
import json
import logging
from datetime import date
from pathlib import Path

import pytest

from pypi_scan.datasets import write_download_stats
from pypi_scan.download_stats.keep import keep
from pypi_scan.download_stats.source import Statistics, Window

FETCHED = date(2026, 11, 22)


@pytest.fixture
def kept_file(tmp_path: Path) -> Path:
    path = tmp_path / "kept.jsonl"
    window = Window(date(2026, 10, 22), date(2026, 11, 20))
    keep(path, Statistics({"six": 9, "requests": 500, "attrs": 9}, window), "clickhouse", FETCHED)
    return path


def test_what_is_kept_is_published_with_its_origin(tmp_path: Path, kept_file: Path) -> None:
    summary = write_download_stats(tmp_path, kept_file, FETCHED)
    assert summary == {"packages": 3, "downloads": 518, "source": "clickhouse", "age_days": 2}
    text = gzip.decompress((tmp_path / "public/pypi_download_stats.gz").read_bytes()).decode()
    assert text == (
        '{"package_name":"requests","downloads":500}\n'
        '{"package_name":"attrs","downloads":9}\n'
        '{"package_name":"six","downloads":9}\n'
    )
    assert json.loads((tmp_path / "public/pypi_download_stats.json").read_bytes()) == {
        "source": "clickhouse",
        "window": {"start": "2026-10-22", "end": "2026-11-20"},
        "fetched": "2026-11-22",
        "packages": 3,
        "downloads": 518,
    }


def test_the_day_of_the_regeneration_is_not_published(tmp_path: Path, kept_file: Path) -> None:
    def published(today: date) -> dict[str, bytes]:
        write_download_stats(tmp_path, kept_file, today)
        return {path.name: path.read_bytes() for path in (tmp_path / "public").iterdir()}

    assert published(FETCHED) == published(date(2027, 1, 1))


@pytest.mark.parametrize(
    ("today", "level", "age"), [(date(2026, 11, 28), logging.INFO, 8), (date(2026, 11, 29), logging.WARNING, 9)]
)
def test_the_age_is_logged_as_a_warning_once_a_fetch_was_missed(
    tmp_path: Path, kept_file: Path, caplog: pytest.LogCaptureFixture, today: date, level: int, age: int
) -> None:
    caplog.set_level(logging.INFO)
    assert write_download_stats(tmp_path, kept_file, today)["age_days"] == age
    message = f"Download statistics from clickhouse, fetched on 2026-11-22, are {age} days old"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, message)]


def test_where_the_window_is_not_known_age_counts_from_the_fetch(tmp_path: Path, kept_file: Path) -> None:
    keep(kept_file, Statistics({"six": 9}, None), "file", FETCHED)
    assert write_download_stats(tmp_path, kept_file, date(2026, 11, 23))["age_days"] == 1
    assert json.loads((tmp_path / "public/pypi_download_stats.json").read_bytes())["window"] is None
