"""Making a dataset only if what it is made of has changed since it was made."""

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

from pypi_scan import mirror, names
from pypi_scan.datasets.layout import made_file
from pypi_scan.files import atomic_write


class _Made(msgspec.Struct, frozen=True):
    """What was made: of what, the stamps of the files by their paths, and what the step returned."""

    made_of: str
    files: dict[str, list[int]]
    summary: msgspec.Raw


def make_if_changed[Summary](
    directory: Path, dataset: str, made_of: str, files: list[Path], make: Callable[[], Summary], kind: type[Summary]
) -> Summary:
    """Call `make`, which writes `files` and returns a dict of type `kind`, unless they are already made of `made_of`.

    `made_of` says all that the files depend on, but for the code, which counts too. A file that is missing, or that
    somebody else wrote, is made again. The record is written after the files: after a crash they are made once more.
    """
    record = made_file(directory, dataset)
    made_of = f"{recipe()} {made_of}"
    last = _read(record)
    if last is not None and last.made_of == made_of and last.files == _stamps(files):
        return msgspec.json.decode(last.summary, type=kind)
    summary = make()
    with atomic_write(record) as file:
        raw = msgspec.Raw(msgspec.json.encode(summary))
        file.write(msgspec.json.encode(_Made(made_of, _stamps(files) or {}, raw)))
    return summary


@cache
def recipe() -> str:
    """Return a digest of the code that makes the datasets: what other code made is not relied on."""
    digest = hashlib.sha256(version("packaging").encode())
    for source in [*sorted(Path(__file__).parent.glob("*.py")), Path(mirror.__file__), Path(names.__file__)]:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(record: Path) -> _Made | None:
    try:
        return msgspec.json.decode(record.read_bytes(), type=_Made)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _stamps(files: list[Path]) -> dict[str, list[int]] | None:
    try:
        stats = {str(path): path.stat() for path in files}
    except OSError:
        return None
    return {path: [stat.st_ino, stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}
