"""Settings come from the environment, and a wrong one is named."""

import os
from pathlib import Path

import pytest

from pypi_scan.settings import Settings, SettingsError

REQUIRED = {
    "PYPI_SCAN_MIRROR_ROOT": "/srv/mirror",
    "PYPI_SCAN_STATE_DIR": "/srv/state",
    "PYPI_SCAN_SCANS_DIR": "/srv/scans",
    "PYPI_SCAN_MIRROR_SOURCE": "https://mirror.example/web",
    "PYPI_SCAN_CDN_BUCKET": "bucket",
    "PYPI_SCAN_CDN_PUBLIC_URL": "https://cdn.example",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that holds what is required and no other setting."""
    for name in [name for name in os.environ if name.startswith("PYPI_SCAN_")]:
        monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def test_what_is_required_is_enough() -> None:
    settings = Settings.load()
    assert settings.mirror_root == Path("/srv/mirror")
    assert settings.datasets_dir == Path("/srv/state/datasets")
    assert settings.upstream_url is None


def test_everything_missing_or_wrong_is_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYPI_SCAN_MIRROR_ROOT")
    monkeypatch.delenv("PYPI_SCAN_CDN_BUCKET")
    monkeypatch.setenv("PYPI_SCAN_BANDERSNATCH_WORKERS", "11")
    monkeypatch.setenv("PYPI_SCAN_BANDERSNATCH_TIMEOUT", "soon")
    with pytest.raises(SettingsError) as wrong:
        Settings.load()
    for name in ("MIRROR_ROOT", "CDN_BUCKET", "BANDERSNATCH_WORKERS", "BANDERSNATCH_TIMEOUT"):
        assert f"PYPI_SCAN_{name}: " in str(wrong.value)
    assert "STATE_DIR" not in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BANDERSNATCH_WORKERS", "0"),
        ("BANDERSNATCH_WORKERS", "3.5"),
        ("BANDERSNATCH_TIMEOUT", "0"),
        ("BANDERSNATCH_TIMEOUT", "nan"),
        ("PREFETCH_AHEAD", "0"),
    ],
)
def test_bounds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PYPI_SCAN_{name}", value)
    with pytest.raises(SettingsError, match=f"PYPI_SCAN_{name}: "):
        Settings.load()


@pytest.mark.parametrize(
    "name", ["UPSTREAM_URL", "BANDERSNATCH_EXTRA_CONFIG", "DOWNLOAD_STATS_FILE", "BIGQUERY_CONN_ID"]
)
def test_a_variable_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PYPI_SCAN_{name}", "")
    assert getattr(Settings.load(), name.lower()) is None


def test_a_required_variable_set_to_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYPI_SCAN_MIRROR_ROOT", "")  # would be the current directory
    with pytest.raises(SettingsError, match="PYPI_SCAN_MIRROR_ROOT: "):
        Settings.load()


@pytest.mark.parametrize(
    ("sources", "file", "meant"),
    [
        ("", "", ("clickhouse", "top_packages")),
        ("", "/srv/stats.json", ("file",)),
        ("bigquery, clickhouse,file", "/srv/stats.json", ("bigquery", "clickhouse", "file")),
    ],
)
def test_sources_of_download_stats_are_a_list_in_order(
    monkeypatch: pytest.MonkeyPatch, sources: str, file: str, meant: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PYPI_SCAN_DOWNLOAD_STATS_SOURCES", sources)
    monkeypatch.setenv("PYPI_SCAN_DOWNLOAD_STATS_FILE", file)
    assert Settings.load().stats_sources == meant


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("clickhouse,oracle", r"SOURCES\.1: Input should be 'clickhouse'"),
        ("clickhouse,file", "SOURCES: .*PYPI_SCAN_DOWNLOAD_STATS_FILE does not name it"),
    ],
)
def test_a_source_that_cannot_be_asked_is_named(monkeypatch: pytest.MonkeyPatch, sources: str, message: str) -> None:
    monkeypatch.setenv("PYPI_SCAN_DOWNLOAD_STATS_SOURCES", sources)
    with pytest.raises(SettingsError, match=f"PYPI_SCAN_DOWNLOAD_STATS_{message}"):
        Settings.load()


def test_no_setting_is_a_secret_and_each_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert not {"password", "secret", "token", "key", "credentials"} & set(name.split("_")), name
        assert field.annotation is not None
        assert "Secret" not in str(field.annotation)
        assert field.description, name
