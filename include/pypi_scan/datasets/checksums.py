"""``md5_checksums.txt``: the MD5 of every other published file, for ``md5sum -c`` in a directory that holds them."""

import hashlib
from pathlib import Path
from typing import TypedDict

from pypi_scan.datasets.layout import CHECKSUMS, public_directory
from pypi_scan.files import atomic_write


class ChecksumsSummary(TypedDict):
    """Names of the files listed, sorted."""

    files: list[str]


def write_checksums(directory: Path) -> ChecksumsSummary:
    """Write the checksums of all files to publish in `directory`; temporary ones, with a leading dot, are left out."""
    public = public_directory(directory)
    names = sorted(
        path.name
        for path in public.iterdir()
        if path.is_file() and path.name != CHECKSUMS and not path.name.startswith(".")
    )
    content = "".join(f"{_md5(public / name)}  {name}\n" for name in names).encode("ascii")
    checksums = public / CHECKSUMS
    if not checksums.exists() or checksums.read_bytes() != content:
        with atomic_write(checksums) as file:
            file.write(content)
    return ChecksumsSummary(files=names)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # The digest that consumers of these datasets check; it guards against broken downloads, not against forgery.
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
