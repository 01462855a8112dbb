"""The key of the hashes of secrets: made once, kept to its owner."""

import secrets
import stat
import threading
from pathlib import Path

import pytest

from pypi_scan.redaction_key import RedactionKeyError, redaction_key


def test_a_key_is_made_once(tmp_path: Path) -> None:
    key = redaction_key(tmp_path / "state")
    content = key.read_text()
    assert len(bytes.fromhex(content)) == 32
    assert redaction_key(tmp_path / "state").read_text() == content
    assert redaction_key(tmp_path / "another").read_text() != content
    assert [path.name for path in key.parent.iterdir()] == ["redaction.key"]


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    assert stat.S_IMODE(redaction_key(tmp_path).stat().st_mode) == 0o600


def test_tasks_that_make_it_at_once_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(4)
    token_hex = secrets.token_hex

    def token_hex_when_all_ask(size: int) -> str:
        barrier.wait(10)
        return token_hex(size)

    monkeypatch.setattr(secrets, "token_hex", token_hex_when_all_ask)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(redaction_key(tmp_path).read_text())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"0f" * 31, b"0f" * 32 + b"\n\n", b"\xff" * 64])
def test_a_damaged_key_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "redaction.key").write_bytes(content)
    with pytest.raises(RedactionKeyError, match="restore it from a backup"):
        redaction_key(tmp_path)
    assert (tmp_path / "redaction.key").read_bytes() == content
