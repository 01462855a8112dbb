"""The small datasets as they were published last."""

from typing import NamedTuple

from pypi_scan.datasets.layout import CHECKSUMS, public_directory
from pypi_scan.settings import Settings

_PREFIX = "aura"


class DatasetFile(NamedTuple):
    """A file that consumers fetch: its size in bytes, when it was made in seconds since the epoch, and where it is."""

    name: str
    size: int
    made: float
    url: str


def dataset_files(settings: Settings) -> list[DatasetFile]:
    """Return the files by name, the checksums last; none before the first were made."""
    try:
        entries = list(public_directory(settings.datasets_dir).iterdir())
    except FileNotFoundError:
        return []
    paths = sorted((path for path in entries if not path.name.startswith(".")), key=lambda p: (p.name == CHECKSUMS, p))
    stats = [(path.name, path.stat()) for path in paths]
    root = f"{settings.cdn_public_url.rstrip('/')}/{_PREFIX}"
    return [DatasetFile(name, stat.st_size, stat.st_mtime, f"{root}/{name}") for name, stat in stats]
