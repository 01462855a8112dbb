"""Signatures and keys, judged by minisign itself."""

import os
import shutil
import stat
import subprocess
import time
import traceback
from pathlib import Path

import minisign
import pytest

from pypi_scan.signing import SigningError, SigningKey, main, new_key_pair, sign_file, write_key_pair

COMMENT = "scan 2026-11-01 as of 2026-11-01T00:00:00Z"
CONTENT = os.urandom(100_000)

needs_minisign = pytest.mark.skipif(not shutil.which("minisign"), reason="minisign is not installed")


def run(*command: str | Path, cwd: Path) -> str:
    """Run minisign, which must succeed, and return what it printed."""
    return subprocess.run(["minisign", *command], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A file signed by a new key of ours, which lies beside it."""
    write_key_pair(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_bytes(CONTENT)
    sign_file(path, SigningKey((tmp_path / "minisign.key").read_text()), COMMENT)
    return path


def our_key(signed: Path) -> SigningKey:
    return SigningKey((signed.parent / "minisign.key").read_text())


@needs_minisign
def test_minisign_verifies_our_signature(signed: Path) -> None:
    assert run("-VQH", "-p", "minisign.pub", "-m", signed.name, cwd=signed.parent) == f"{COMMENT}\n"


@needs_minisign
@pytest.mark.parametrize("tampered", ["content", "comment", "signature", "key"])
def test_minisign_refuses_what_was_tampered_with(signed: Path, tampered: str) -> None:
    signature = signed.with_name("manifest.json.minisig")
    if tampered == "content":
        signed.write_bytes(CONTENT + b" ")
    elif tampered == "comment":
        signature.write_text(signature.read_text().replace("2026-11-01", "2026-12-01"))
    elif tampered == "signature":
        signature.write_bytes(our_key(signed).sign(b"other content", COMMENT))
    else:
        (signed.parent / "minisign.pub").write_text(new_key_pair()[1])
    with pytest.raises(subprocess.CalledProcessError):
        run("-VQ", "-p", "minisign.pub", "-m", signed.name, cwd=signed.parent)


@needs_minisign
def test_minisign_signs_with_our_key(signed: Path) -> None:
    run("-SW", "-s", "minisign.key", "-m", signed.name, cwd=signed.parent)
    run("-VQ", "-p", "minisign.pub", "-m", signed.name, cwd=signed.parent)


@needs_minisign
def test_we_sign_with_a_key_of_minisign(tmp_path: Path) -> None:
    run("-GW", "-p", "minisign.pub", "-s", "minisign.key", cwd=tmp_path)
    text = (tmp_path / "minisign.key").read_text()
    (tmp_path / "file").write_bytes(CONTENT)
    for form in (text, text.split()[-1]):  # the file, or its last line
        key = SigningKey(form)
        published = (tmp_path / "minisign.pub").read_text()
        assert key.public_key.splitlines()[1:] == published.splitlines()[1:]  # minisign cuts zeros off in the comment
        sign_file(tmp_path / "file", key, COMMENT)
        assert run("-VQ", "-p", "minisign.pub", "-m", "file", cwd=tmp_path) == f"{COMMENT}\n"


def test_the_same_file_gives_the_same_signature(signed: Path) -> None:
    first = signed.with_name("manifest.json.minisig").read_bytes()
    second = int(time.time())
    while int(time.time()) == second:  # a time of day would be another one now
        time.sleep(0.05)
    assert sign_file(signed, our_key(signed), COMMENT).read_bytes() == first
    assert our_key(signed).sign(CONTENT, COMMENT) == first


@pytest.mark.parametrize("comment", ["two\nlines", "\x1b[2J", "x" * 9000])
def test_an_impossible_comment_is_refused_and_nothing_is_written(signed: Path, comment: str) -> None:
    before = {path.name: path.read_bytes() for path in signed.parent.iterdir()}
    with pytest.raises(SigningError, match="cannot sign with the trusted comment"):
        sign_file(signed, our_key(signed), comment)
    assert {path.name: path.read_bytes() for path in signed.parent.iterdir()} == before


def damaged(text: str) -> str:
    """A secret key with one character of its seed changed."""
    line = text.split()[-1]
    return line[:90] + ("A" if line[90] != "A" else "B") + line[91:]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "untrusted comment: nothing else\n",
        new_key_pair()[1],
        new_key_pair()[0].strip()[:-4],
        damaged(new_key_pair()[0]),
    ],
    ids=["nothing", "empty line", "comment", "public key", "cut off", "damaged"],
)
def test_what_is_no_secret_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SigningError, match="not a secret key of minisign, or a damaged one") as refused:
        SigningKey(text)
    if text.strip():
        assert text.split()[-1] not in "".join(traceback.format_exception(refused.value))


def test_a_key_with_a_password_is_refused() -> None:
    key = minisign.KeyPair.generate().secret_key
    key.encrypt("password", opslimit=1, memlimit=1 << 20)
    with pytest.raises(SigningError, match=r"has a password; remove it \(minisign -C -W"):
        SigningKey(bytes(key).decode())


def test_a_key_does_not_show_its_secret() -> None:
    secret = new_key_pair()[0]
    key = SigningKey(secret)
    shown = f"{key} {key!r} {vars(key)} {key.public_key} {key.sign(b'', COMMENT)!r}"
    assert secret.split()[-1] not in shown
    assert secret.split()[-1][90:130] not in shown


def test_new_keys_are_written_for_their_owner_and_never_over_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "new" / "keys"
    assert main(["new-key", str(directory)]) == 0
    secret, public = directory / "minisign.key", directory / "minisign.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert SigningKey(secret.read_text()).public_key == public.read_text()
    printed = capsys.readouterr()
    assert secret.read_text().split()[-1] not in printed.out + printed.err

    for kept, removed in ((secret, public), (public, secret)):
        text = kept.read_text()
        removed.unlink()
        assert main(["new-key", str(directory)]) == 1
        assert "is there already and is not overwritten" in capsys.readouterr().err
        assert kept.read_text() == text
        assert not removed.exists()
        removed.write_text("")
