"""Signatures in minisign's format (https://jedisct1.github.io/minisign/): Ed25519, of a file's BLAKE2b digest.

``python -m pypi_scan.signing new-key DIRECTORY`` makes a key pair, as ``minisign -G -W`` does.
"""

import argparse
import base64
import os
import sys
from pathlib import Path
from typing import BinaryIO

import minisign

from pypi_scan.files import atomic_write

SIGNATURE_SUFFIX = ".minisig"


class SigningError(Exception):
    """There is no key that can sign; the message says why and what to do, and never quotes the key."""


class SigningKey:
    """A secret key; nothing that it prints or returns holds its secret."""

    def __init__(self, text: str) -> None:
        """Take the content of the file that ``minisign -G -W`` or ``new-key`` writes, or its last line alone.

        Raises SigningError if that is no secret key, a damaged one, or one with a password.
        """
        lines = text.split("\n")
        try:
            self._key = minisign.SecretKey.from_base64([line.strip() for line in lines if line.strip()][-1])
            if self._key.is_encrypted():
                raise SigningError("the signing key has a password; remove it (minisign -C -W -s FILE) and try again")
            # minisign leaves the checksum of a key without password empty: only a signature shows whether it is whole.
            self._key.get_public_key().verify(b"", self._key.sign(b"", trusted_comment=""))
        except (IndexError, minisign.Error):
            # Without its cause, which could quote the key.
            raise SigningError(
                "not a secret key of minisign, or a damaged one; take the last line of the file minisign.key"
            ) from None

    @property
    def public_key(self) -> str:
        """The content of the public key's file, as minisign writes it."""
        return _public_key_text(self._key.get_public_key())

    def sign(self, content: bytes | BinaryIO, trusted_comment: str) -> bytes:
        """Return the content of a signature file; the same content and comment give the same bytes.

        The comment is signed too. Raises SigningError unless it is one line of printable ASCII of at most 8 KB.
        """
        try:
            return bytes(self._key.sign(content, trusted_comment=trusted_comment)) + b"\n"
        except minisign.Error as error:
            raise SigningError(f"cannot sign with the trusted comment {trusted_comment!r:.200}: {error}") from error

    def has_signed(self, content: bytes, signature: bytes) -> bool:
        """Whether `signature`, the content of a signature file, is one of `content` with this key."""
        try:
            self._key.get_public_key().verify(content, minisign.Signature.from_bytes(signature))
        except minisign.Error:
            return False
        return True


def sign_file(path: Path, key: SigningKey, trusted_comment: str) -> Path:
    """Write ``<path>.minisig`` and return its path; see SigningKey.sign."""
    signature = path.with_name(path.name + SIGNATURE_SUFFIX)
    with path.open("rb") as content, atomic_write(signature) as file:
        file.write(key.sign(content, trusted_comment))
    return signature


def new_key_pair() -> tuple[str, str]:
    """Return the contents of a new secret key's file and of its public key's file."""
    pair = minisign.KeyPair.generate()
    return bytes(pair.secret_key).decode() + "\n", _public_key_text(pair.public_key)


def write_key_pair(directory: Path) -> tuple[Path, Path]:
    """Write a new ``minisign.key``, readable for its owner only, and ``minisign.pub``; return their paths.

    Raises SigningError if either is there already: what was signed with a lost key can never be signed again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "minisign.key", directory / "minisign.pub"
    for path in paths:
        if os.path.lexists(path):
            raise SigningError(f"{path} is there already and is not overwritten; name another directory")
    for path, text, mode in zip(paths, new_key_pair(), (0o600, 0o644), strict=True):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as file:
            file.write(text)
    return paths


def _public_key_text(key: minisign.PublicKey) -> str:
    encoded = key.to_base64().decode()
    # The key's id as minisign shows it: the eight bytes after the algorithm, as a little-endian number.
    number = int.from_bytes(base64.b64decode(encoded)[2:10], "little")
    return f"untrusted comment: minisign public key {number:016X}\n{encoded}\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pypi_scan.signing", description="Make keys that sign datasets.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("new-key", help="write minisign.key and minisign.pub")
    command.add_argument("directory", type=Path, help="where to; made if need be")
    try:
        secret, public = write_key_pair(parser.parse_args(arguments).directory)
    except SigningError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: the keys cannot be written: {error}; name a directory that you can write to", file=sys.stderr)
        return 1
    print(f"secret key: {secret} (keep a copy where this host cannot lose it)\npublic key: {public}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
