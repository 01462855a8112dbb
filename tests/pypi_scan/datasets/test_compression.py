"""gzip files, read back with zcat."""

import subprocess
from pathlib import Path

import pytest

from pypi_scan.datasets.compression import atomic_gzip

CONTENT = b"".join(b"line %d of some text\n" % number for number in range(200_000))  # more than one block


def write(path: Path, *pieces: bytes) -> Path:
    with atomic_gzip(path) as file:
        for piece in pieces:
            file.write(piece)
    return path


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "a byte", "blocks"])
def test_content_is_read_back(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.gz", content)
    assert subprocess.run(["zcat", path], capture_output=True, check=True).stdout == content


def test_the_same_content_gives_the_same_bytes_that_tell_neither_time_nor_name(tmp_path: Path) -> None:
    pieces = CONTENT.splitlines(keepends=True)
    one, other = write(tmp_path / "a.gz", *pieces), write(tmp_path / "b.gz", *pieces)
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes()[:8] == b"\x1f\x8b\x08\0\0\0\0\0"  # no flags, no time


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", b"old")
    old = path.read_bytes()
    with pytest.raises(TypeError):
        write(path, CONTENT, None)  # type: ignore[arg-type]
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [old]
