"""Settings of the control host, read from ``PYPI_SCAN_*`` environment variables when a task runs.

Credentials are not among them: they live in Airflow Connections (`worker_conn_id`, `cdn_conn_id`).
"""

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is missing or wrong. The message names its environment variable."""


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

    download_stats_file: Path | None = Field(
        default=None,
        description='JSON lines {"package_name", "downloads"}, 30 days; what pypi_download_stats is made of',
    )

    mirror_source: str = Field(
        description="where a worker reads the mirror's `web/`: an http(s) URL, or a path mounted there"
    )
    worker_conn_id: str = Field(default="pypi_worker", description="Airflow SSH connection of the worker node")
    prefetch_ahead: int = Field(
        default=2, ge=1, description="shards a worker's SSD may hold besides the one being fetched"
    )

    cdn_conn_id: str = Field(
        default="pypi_cdn",
        description="Airflow connection (type aws) with the keys and endpoint_url of the CDN origin",
    )
    cdn_bucket: str = Field(description="bucket whose content the CDN serves")
    cdn_public_url: str = Field(description="URL under which the bucket's objects are public, without trailing slash")

    @property
    def datasets_dir(self) -> Path:
        """Where the small datasets are made, and kept between runs."""
        return self.state_dir / "datasets"

    @property
    def gone_file(self) -> Path:
        """Where syncs note which projects of the mirror upstream no longer has."""
        return self.state_dir / "gone.json"

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment; raises SettingsError that names what is missing or wrong."""
        try:
            return cls()  # type: ignore[call-arg]  # the fields come from the environment
        except ValidationError as error:
            wrong = (f"PYPI_SCAN_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsError(f"settings are missing or wrong: {'; '.join(wrong)}") from None
