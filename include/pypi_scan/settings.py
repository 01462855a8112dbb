"""Settings of the control host, read from ``PYPI_SCAN_*`` environment variables when a task runs.

Credentials are not among them: they live in Airflow Connections (`cdn_conn_id`, `signing_conn_id`, and those of the
workers, which the Airflow Variable `pypi_workers` lists, so that it can be edited while a scan runs).
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

type StatsSource = Literal["clickhouse", "bigquery", "top_packages", "file"]


class SettingsError(Exception):
    """A setting is missing or wrong. The message names its environment variable."""


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


class Settings(BaseSettings):
    """Every setting with its unit and default. A variable that is set to nothing counts as not set."""

    model_config = SettingsConfigDict(env_prefix="PYPI_SCAN_", env_ignore_empty=True, frozen=True, extra="forbid")

    mirror_root: Path = Field(description="bandersnatch's directory; the served tree is `web/` below it")
    state_dir: Path = Field(description="small files the control host keeps between runs: serials, datasets, locks")
    scans_dir: Path = Field(description="plans, collected results and packed datasets of global scans")

    upstream_url: str | None = Field(
        default=None, description="the index to mirror; unset means bandersnatch's own default, the real PyPI"
    )
    bandersnatch_workers: int = Field(default=3, ge=1, le=10, description="parallel downloads")
    bandersnatch_timeout: float = Field(default=30.0, gt=0, description="seconds a connection may be silent")
    bandersnatch_extra_config: Path | None = Field(
        default=None, description="ini file with bandersnatch sections to add, e.g. an allowlist of packages"
    )

    min_free_gb: float = Field(
        default=2.0, ge=0, description="GB (10^9 bytes) that stay free on the mirror's disk: a sync ends before"
    )

    download_stats_file: Path | None = Field(
        default=None,
        description='JSON lines {"package_name", "downloads"} or a top-pypi-packages document; the source `file`',
    )
    download_stats_sources: Annotated[tuple[StatsSource, ...], NoDecode, BeforeValidator(_words)] = Field(
        default=(),
        description="where download stats come from, the first that answers well: clickhouse, bigquery, top_packages, "
        "file, separated by commas; unset: file if download_stats_file is set, else clickhouse,top_packages",
    )
    clickhouse_url: str = Field(
        default="https://sql-clickhouse.clickhouse.com/",
        description="HTTP interface of a ClickHouse with the table pypi.pypi_downloads_per_day and the user `demo`",
    )
    top_packages_url: str = Field(
        default="https://hugovk.dev/top-pypi-packages/top-pypi-packages.min.json",
        description="the monthly top-pypi-packages document",
    )
    bigquery_conn_id: str | None = Field(
        default=None,
        description="Airflow connection (type google_cloud_platform) that pays for BigQuery; unset: Google's "
        "application default credentials",
    )
    bigquery_max_gib: int = Field(
        default=200,
        ge=1,
        description="GiB that one run may have billed by BigQuery; a day is about 40, and is paid for once",
    )

    mirror_source: str = Field(
        description="where a worker reads the mirror's `web/`: an http(s) URL, or a path mounted there"
    )
    prefetch_ahead: int = Field(
        default=3, ge=1, description="shards a worker's SSD may hold besides the one being scanned"
    )

    worker_patience: float = Field(
        default=600, gt=0, description="seconds a worker may not answer before another one, or a retry, does its work"
    )

    keep_secrets: bool = Field(
        default=False, description="whether records quote the secrets that were found, instead of keyed hashes of them"
    )

    keep_records_days: int = Field(
        default=200, ge=1, description="days a record is kept for re-use after the last scan that it was part of"
    )

    cdn_conn_id: str = Field(
        default="pypi_cdn",
        description="Airflow connection (type aws) with the keys and endpoint_url of the CDN origin",
    )
    cdn_bucket: str = Field(description="bucket whose content the CDN serves")
    cdn_public_url: str = Field(description="URL under which the bucket's objects are public, without trailing slash")
    signing_conn_id: str = Field(
        default="pypi_signing", description="Airflow connection with the secret key that signs what is published"
    )

    inspector_url: str = Field(
        default="https://inspector.pypi.io",
        pattern=r"^https?://[^\s?#]+$",
        description="the Inspector that pages of the scan monitor link to, for the files inside a distribution file",
    )

    @property
    def datasets_dir(self) -> Path:
        """Where the small datasets are made, and kept between runs."""
        return self.state_dir / "datasets"

    @property
    def gone_file(self) -> Path:
        """Where syncs note which projects of the mirror upstream no longer has."""
        return self.state_dir / "gone.json"

    @property
    def project_status_file(self) -> Path:
        """Where syncs note which projects are archived, deprecated or quarantined upstream."""
        return self.state_dir / "project-status.json"

    @property
    def sync_report(self) -> Path:
        """Where syncs note what the mirror lacks of upstream."""
        return self.state_dir / "sync-report.json"

    @property
    def stats_sources(self) -> tuple[StatsSource, ...]:
        """The sources of download stats in order, the default filled in."""
        if self.download_stats_sources:
            return self.download_stats_sources
        return ("file",) if self.download_stats_file else ("clickhouse", "top_packages")

    @property
    def download_stats_dir(self) -> Path:
        """Where download stats are kept between runs."""
        return self.state_dir / "download_stats"

    @property
    def download_stats_kept(self) -> Path:
        """The file of the last good download stats."""
        return self.download_stats_dir / "kept.jsonl"

    @field_validator("download_stats_sources")
    @classmethod
    def _file_is_named(cls, sources: tuple[StatsSource, ...], info: ValidationInfo) -> tuple[StatsSource, ...]:
        if "file" in sources and not info.data.get("download_stats_file"):
            raise ValueError("file is one of them, and PYPI_SCAN_DOWNLOAD_STATS_FILE does not name it")
        return sources

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment; raises SettingsError that names what is missing or wrong."""
        try:
            return cls()  # type: ignore[call-arg]  # the fields come from the environment
        except ValidationError as error:
            wrong = (f"PYPI_SCAN_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsError(f"settings are missing or wrong: {'; '.join(wrong)}") from None
