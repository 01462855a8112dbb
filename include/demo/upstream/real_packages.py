"""Fetches the pinned real packages with pip; a second call takes them from the cache."""

import hashlib
import subprocess
import tomllib
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from demo.upstream.pip_command import pip_command
from demo.upstream.recipes import Distribution, Release

PINS_FILE = Path(__file__).with_name("real_packages.toml")
_CONNECT_SECONDS = 15
_DOWNLOAD_SECONDS = 180


class RealPackagesUnavailableError(Exception):
    """pip could not download them, as a rule because there is no network. The message is pip's last line."""


class PinMismatchError(Exception):
    """pip was given a file that is not the pinned one."""


@dataclass(frozen=True)
class Pin:
    """One real package: exactly this wheel, and when the demo's index got it."""

    name: str
    version: str
    filename: str
    sha256: str
    uploaded: datetime

    def requirement(self) -> str:
        """Return the line of a requirements file that asks for it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


def load_pins() -> list[Pin]:
    """Return all pins, in the order of their file."""
    return [Pin(**entry) for entry in tomllib.loads(PINS_FILE.read_text(encoding="utf-8"))["packages"]]


def fetch_real_packages(cache: Path) -> None:
    """Make sure that the wheel of every pin lies in `cache`; downloads nothing if they all do.

    Raises RealPackagesUnavailableError where they cannot be had and PinMismatchError where something else came.
    """
    missing = [pin for pin in load_pins() if not _is_cached(pin, cache)]
    if not missing:
        return
    cache.mkdir(parents=True, exist_ok=True)
    requirements = cache / "requirements.txt"
    requirements.write_text("".join(pin.requirement() for pin in missing), encoding="utf-8")
    download = ["download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    patience = ["--retries", "1", "--timeout", str(_CONNECT_SECONDS), "--disable-pip-version-check"]
    try:
        command = [*pip_command(cache), *download, *patience, "-r", str(requirements), "-d", str(cache)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise RealPackagesUnavailableError(f"pip did not finish within {_DOWNLOAD_SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        raise RealPackagesUnavailableError(f"no pip could be set up: {_last_line(error.stderr)}") from None
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise PinMismatchError(f"a downloaded file is not the pinned one: {_last_line(done.stderr)}")
    if done.returncode:
        raise RealPackagesUnavailableError(_last_line(done.stderr))


def cached_pins(cache: Path) -> list[Pin]:
    """Return the pins whose wheel lies in `cache`."""
    return [pin for pin in load_pins() if _is_cached(pin, cache)]


def real_release(pin: Pin, cache: Path) -> Release:
    """Return the release of a pin whose wheel lies in `cache`."""
    wheel = cache / pin.filename
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (path for path in archive.namelist() if path.endswith(".dist-info/METADATA"))
        metadata = archive.read(member)
    python_tag = wheel.stem.split("-")[-3]
    distribution = Distribution(pin.filename, wheel.read_bytes(), "bdist_wheel", python_tag, metadata)
    return Release(pin.version, pin.uploaded, metadata, (distribution,))


def _is_cached(pin: Pin, cache: Path) -> bool:
    wheel = cache / pin.filename
    return wheel.is_file() and hashlib.sha256(wheel.read_bytes()).hexdigest() == pin.sha256


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
