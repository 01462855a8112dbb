"""Reading a mirror whose documents come from others."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pypi_scan.mirror import Mirror, MirrorError

MakeMirror = Callable[..., Mirror]
DEEP = b"[" * 100_000 + b"]" * 100_000


def test_serial(make_mirror: MakeMirror) -> None:
    mirror = make_mirror({})
    assert mirror.serial() == 123
    (mirror.root / "status").write_text("30000001\n")
    assert mirror.serial() == 30_000_001
    (mirror.root / "status").unlink()
    assert mirror.serial() == 0


@pytest.mark.parametrize("content", [b"", b"x", b"\xff", b"1 2", b"9" * 10_000])
def test_a_damaged_serial_is_an_error_that_says_what_to_do(make_mirror: MakeMirror, content: bytes) -> None:
    mirror = make_mirror({})
    (mirror.root / "status").write_bytes(content)
    with pytest.raises(MirrorError, match="status does not hold a serial number; remove it"):
        mirror.serial()


def test_package_names_are_sorted_and_nothing_else(make_mirror: MakeMirror) -> None:
    mirror = make_mirror({"b": None, "a-b": None, "a": None})
    for name in (".b.part", "B", "a_b", "x.json", "-", "b\n"):
        (mirror.web / "json" / name).write_bytes(b"{}")
    assert mirror.package_names() == ["a", "a-b", "b"]


def test_a_mirror_never_synced_has_no_names(make_mirror: MakeMirror) -> None:
    mirror = make_mirror({})
    (mirror.web / "json").rmdir()
    with pytest.raises(MirrorError, match="not been synced"):
        mirror.package_names()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"[]",
        b'{"info": {"name": "x"}',
        b'{"info": {"name": "x"}}',
        b'{"info": {"name": null}, "releases": {}}',
        b'{"info": {"name": "\xff"}, "releases": {}}',
        b'{"info": {"name": "\\ud800"}, "releases": {}}',
        b'{"info": {"name": "x"}, "releases": {"1": [{"size": "many"}]}}',
        b'{"info": {"name": "x", "project_urls": {"a": 1e999}}, "releases": {}}',
        b'{"info": {"name": "x", "project_urls": {"a": ' + DEEP + b'}}, "releases": {}}',
        b'{"info": {"name": "x"}, "releases": {}, "unknown": ' + DEEP + b"}",
    ],
    ids=range(12),
)
def test_a_document_that_cannot_be_read_is_a_mirror_error_of_that_package_alone(
    make_mirror: MakeMirror, content: bytes
) -> None:
    mirror = make_mirror({"a": None, "bad": content, "c": None})
    documents = dict(mirror.documents())
    assert list(documents) == ["a", "bad", "c"]
    assert isinstance(error := documents.pop("bad"), MirrorError)
    assert "JSON of bad" in str(error)
    assert not any(isinstance(document, MirrorError) for document in documents.values())


def test_a_document_that_is_too_large_is_not_read(make_mirror: MakeMirror) -> None:
    mirror = make_mirror({"bad": b""})
    os.truncate(mirror.json_path("bad"), 2**40)
    with pytest.raises(MirrorError, match="JSON of bad has 1099511627776 bytes, and none has so many"):
        mirror.document("bad")


def test_a_directory_or_a_vanished_document_is_a_mirror_error(make_mirror: MakeMirror) -> None:
    mirror = make_mirror({})
    (mirror.web / "json" / "six").mkdir()
    for name in ("six", "gone"):
        with pytest.raises(MirrorError, match=name):
            mirror.document(name)


def test_documents_are_read_ahead_as_far_as_they_are_there(
    make_mirror: MakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_mirror({"a": None, "b": None})
    advised = []

    def advise(descriptor: int, *_: int) -> None:
        advised.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "posix_fadvise", advise)
    before = len(list(Path("/proc/self/fd").iterdir()))
    mirror.read_ahead(["a", "gone", "b"])
    assert advised == [mirror.json_path("a"), mirror.json_path("b")]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
