"""A local file: both formats, and errors that say where."""

import json
from datetime import date
from pathlib import Path

import pytest

from pypi_scan.download_stats.local_file import LocalFile
from pypi_scan.download_stats.source import DownloadStatsError, Statistics, Window

WINDOW = Window(date(2026, 10, 22), date(2026, 11, 20))


@pytest.fixture
def stats_file(tmp_path: Path) -> Path:
    return tmp_path / "stats.json"


def fetch(stats_file: Path) -> Statistics:
    return LocalFile(stats_file).fetch(WINDOW)


def test_json_lines_with_duplicates_summed(stats_file: Path) -> None:
    stats_file.write_text(
        '{"package_name": "zz", "downloads": 5}\n'
        '{"package_name": "Foo.Bar", "downloads": 10000}\n'
        "\n"
        '{"package_name": "aa", "downloads": 5}\n'
        '{"downloads": "12000", "package_name": "big", "month": "2026-10"}\n'
        '{"package_name": "foo_bar", "downloads": 4000}'
    )
    assert fetch(stats_file) == Statistics({"zz": 5, "foo-bar": 14000, "aa": 5, "big": 12000}, window=None)


@pytest.mark.parametrize("indent", [None, 2], ids=["minified", "pretty"])
def test_top_pypi_packages_document(stats_file: Path, indent: int | None) -> None:
    rows = [{"project": "boto3", "download_count": 7}, {"project": "Six", "download_count": 9}]
    stats_file.write_text(json.dumps({"last_update": "2026-11-01 00:00:00", "rows": rows}, indent=indent))
    assert fetch(stats_file) == Statistics({"boto3": 7, "six": 9}, Window(date(2026, 10, 2), date(2026, 10, 31)))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('{"package_name": "a", "downloads": 1}\n{"package_name": "b"}\n', "line 2: .*downloads"),
        ('{"package_name": "a", "downloads": -1}\n', "line 1: .*>= 0"),
        ('\n{"package_name": "a", "downloads": 1.5}\n', "line 2: .*int"),
        ('{"package_name": "../a", "downloads": 1}\n', "line 1: not a valid project name"),
        ('{"package_name": "a", "downloads": 1}\nnot json\n', "line 2: .*expected JSON lines"),
        ('{"rows": [{"project": "a", "download_count": 1}, {"project": "b"}]}', "row 2: .*download_count"),
        ('{"rows": [{"project": "a", "download_count": 1}', "line 1: .*top-pypi-packages"),
    ],
)
def test_bad_input_is_an_error_that_says_where(stats_file: Path, content: str, where: str) -> None:
    stats_file.write_text(content)
    with pytest.raises(DownloadStatsError, match=where) as raised:
        fetch(stats_file)
    assert str(stats_file) in str(raised.value)


def test_a_missing_file_is_an_error(stats_file: Path) -> None:
    with pytest.raises(DownloadStatsError, match=str(stats_file)):
        fetch(stats_file)
