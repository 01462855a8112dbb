"""Download statistics: both input formats, the order, and errors that say where."""

import gzip
import json
from pathlib import Path

import pytest

from pypi_scan.datasets import DownloadStatsError, write_download_stats


@pytest.fixture
def stats_file(tmp_path: Path) -> Path:
    return tmp_path / "stats.json"


def written(directory: Path, stats_file: Path) -> list[tuple[str, int]]:
    write_download_stats(directory, stats_file)
    text = gzip.decompress((directory / "public/pypi_download_stats.gz").read_bytes()).decode()
    assert text.endswith("}\n")
    return [tuple(json.loads(line).values()) for line in text.removesuffix("\n").split("\n")]


def test_json_lines_are_ranked_with_duplicates_summed(tmp_path: Path, stats_file: Path) -> None:
    stats_file.write_text(
        '{"package_name": "zz", "downloads": 5}\n'
        '{"package_name": "Foo.Bar", "downloads": 10000}\n'
        "\n"
        '{"package_name": "aa", "downloads": 5}\n'
        '{"downloads": "12000", "package_name": "big", "month": "2026-10"}\n'
        '{"package_name": "foo_bar", "downloads": 4000}'
    )
    assert written(tmp_path, stats_file) == [("foo-bar", 14000), ("big", 12000), ("aa", 5), ("zz", 5)]


@pytest.mark.parametrize("indent", [None, 2], ids=["minified", "pretty"])
def test_top_pypi_packages_document(tmp_path: Path, stats_file: Path, indent: int | None) -> None:
    rows = [{"project": "boto3", "download_count": 7}, {"project": "Six", "download_count": 9}]
    stats_file.write_text(json.dumps({"last_update": "2026-11-01 00:00:00", "rows": rows}, indent=indent))
    assert written(tmp_path, stats_file) == [("six", 9), ("boto3", 7)]


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
        ("\n", "is empty"),
    ],
)
def test_bad_input_is_an_error_that_says_where(tmp_path: Path, stats_file: Path, content: str, where: str) -> None:
    stats_file.write_text(content)
    with pytest.raises(DownloadStatsError, match=where) as raised:
        write_download_stats(tmp_path, stats_file)
    assert str(stats_file) in str(raised.value)
    assert not (tmp_path / "public").exists()


def test_a_missing_file_is_an_error(tmp_path: Path, stats_file: Path) -> None:
    with pytest.raises(DownloadStatsError, match=str(stats_file)):
        write_download_stats(tmp_path, stats_file)
