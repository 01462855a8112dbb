"""The configuration of bandersnatch that follows from the settings."""

import configparser
import io
from importlib.metadata import entry_points
from pathlib import Path

from pypi_scan.files import atomic_write_text
from pypi_scan.settings import Settings
from pypi_scan.sync_errors import SyncError

GUARDS = ("refuse_hostile_names", "refuse_hostile_files")
"""The plugins of pypi_scan.bandersnatch_filters, which every run has."""


def check_guards() -> None:
    """Raise SyncError unless bandersnatch will find the plugins that keep hostile names and paths out."""
    installed = {point.name for point in entry_points() if point.group.startswith("bandersnatch_filter_plugins.")}
    if missing := set(GUARDS) - installed:
        raise SyncError(
            f"bandersnatch would not find the plugins {', '.join(sorted(missing))}, without which upstream could write "
            "outside the mirror; install this project into Airflow's environment (make setup)"
        )


def bandersnatch_config(settings: Settings) -> configparser.ConfigParser:
    """Return the configuration for a sync.

    The upstream is named only if a setting names one: bandersnatch's own default is the real PyPI. Files of projects
    that are gone upstream are never deleted. Raises SyncError if `bandersnatch_extra_config` cannot be read.
    """
    # As bandersnatch reads it: "=" alone separates, names keep their case. Its "%" interpolation is left to itself.
    config = configparser.ConfigParser(interpolation=None, delimiters="=")
    config.optionxform = str  # type: ignore[assignment,method-assign]
    if settings.bandersnatch_extra_config:
        try:
            config.read_string(settings.bandersnatch_extra_config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise SyncError(f"the setting bandersnatch_extra_config cannot be read: {error}") from error
    if not config.has_section("mirror"):
        config.add_section("mirror")
    ours = {
        "directory": str(settings.mirror_root),
        "json": "true",
        "release-files": "true",
        "workers": str(settings.bandersnatch_workers),
        "timeout": str(settings.bandersnatch_timeout),
        "stop-on-error": "false",
        "delete_missing_packages": "false",
    }
    if settings.upstream_url:
        ours["master"] = settings.upstream_url
        ours["allow-non-https"] = "true" if settings.upstream_url.startswith("http://") else "false"
    if not config.has_section("plugins"):
        config.add_section("plugins")
    enabled = config["plugins"].get("enabled", "").split()
    config["plugins"]["enabled"] = "\n".join(["", *GUARDS, *(name for name in enabled if name not in GUARDS)])
    config["mirror"].update({option: _escaped(value) for option, value in ours.items()})
    return config


def config_for_documents(settings: Settings, directory: Path) -> configparser.ConfigParser:
    """Return the configuration for runs that write JSON documents and index pages, and never touch a release file.

    `directory` takes the place of the mirror's, and of the ``todo`` in it. Raises SyncError.
    """
    config = bandersnatch_config(settings)
    config["mirror"].update({"directory": _escaped(str(directory)), "release-files": "false"})
    if not config["mirror"].get("root_uri"):
        config["mirror"]["root_uri"] = "../.."  # what it is with release files; without them PyPI's own file host
    return config


def write_config(config: configparser.ConfigParser, path: Path) -> None:
    """Write the file that bandersnatch reads."""
    text = io.StringIO()
    config.write(text)
    atomic_write_text(path, text.getvalue())


def _escaped(value: str) -> str:
    return value.replace("%", "%%")
