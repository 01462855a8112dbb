"""Uploading the datasets, but only those that are not public yet as they are."""

import tempfile
from pathlib import Path

import msgspec

from pypi_scan.datasets.layout import CHECKSUMS, public_directory
from pypi_scan.datasets.made import file_digest
from pypi_scan.files import atomic_write
from pypi_scan.publish import Cdn, PublishSummary, publish_directory

_PUBLISHED = "published.json"


class _Published(msgspec.Struct):
    """Where the datasets were published, and the SHA-256 of each file that is known to be there."""

    where: list[str]
    files: dict[str, str]


def publish_datasets(cdn: Cdn, directory: Path, prefix: str) -> PublishSummary:
    """Upload what differs from what was last published below `prefix`, the checksums last; raises PublishError.

    What was published is remembered in `directory`, in ``published.json``: remove it to have everything uploaded
    again. What is about to be replaced is forgotten first, so that a crash leads to another upload, not to none.
    """
    public = public_directory(directory)
    where = [cdn.client.meta.endpoint_url, cdn.bucket, prefix]
    files = {path.name: file_digest(path) for path in sorted(public.glob("[!.]*"))}
    last = _read(directory / _PUBLISHED)
    there = last.files if last and last.where == where else {}
    same = [name for name, digest in files.items() if there.get(name) == digest]
    if files and len(same) == len(files):
        return PublishSummary(uploaded=[], unchanged=same, bytes=0)
    if CHECKSUMS in same:  # whoever finds the new files needs their checksums after them, also after a crash
        same.remove(CHECKSUMS)
    _write(directory / _PUBLISHED, _Published(where, {name: files[name] for name in same}))
    with tempfile.TemporaryDirectory(dir=directory, prefix=".publish-") as temporary:
        for name in sorted(files.keys() - set(same)):
            (Path(temporary) / name).hardlink_to(public / name)
        summary = publish_directory(cdn, Path(temporary), prefix, last=(CHECKSUMS,), immutable=False)
    _write(directory / _PUBLISHED, _Published(where, files))
    return PublishSummary(uploaded=summary["uploaded"], unchanged=same, bytes=summary["bytes"])


def _read(path: Path) -> _Published | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Published)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(path: Path, published: _Published) -> None:
    with atomic_write(path) as file:
        file.write(msgspec.json.encode(published))
