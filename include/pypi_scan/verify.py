"""Checks a published scan: the signature of its manifest, then every file that the manifest names.

``python -m pypi_scan.verify DIRECTORY_OR_URL --public-key KEY`` exits 0 if all is as it was signed, 1 if anything is
not, 2 if that could not be found out.

Everything that is read may have been written by an attacker. So nothing is parsed before its signature was checked,
memory is bounded, and a file of a directory counts only if it is a regular one and not a link to elsewhere.
"""

import argparse
import errno
import hashlib
import http.client
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import minisign

from pypi_scan.manifest import MANIFEST, SIGNATURE, Manifest, ManifestError, ManifestFile, parse_manifest

log = logging.getLogger(__name__)

_MIB = 1 << 20
_MANIFEST_BYTES = 16 * _MIB  # at most; a manifest has some kilobytes
_SIGNATURE_BYTES = 16 << 10  # at most; its comment may have 8 KiB
_PROGRESS_INTERVAL = 5.0  # seconds
_SILENCE = 60.0  # seconds that a server may take to go on
_PUBLIC_KEY = re.compile(r"RW[A-Za-z0-9+/]{54}")


class NotAsSignedError(Exception):
    """The dataset is not what was signed with the key; the message says all that is wrong with it."""


class UnreadableError(Exception):
    """The key or the dataset cannot be read, so nothing is known of it; the message says why."""


@dataclass(frozen=True)
class Verification:
    """What was found of a dataset that is as it was signed, as names of files.

    `absent` are named in the manifest and were allowed not to be there; `unsigned` are in the directory and not named
    in the manifest - always empty for a URL, which cannot be listed.
    """

    manifest: Manifest
    trusted_comment: str
    checked: list[str]
    absent: list[str]
    unsigned: list[str]


def verify_dataset(
    dataset: str, public_key: str, *, scan_id: str | None = None, names: Collection[str] = (), present: bool = False
) -> Verification:
    """Check the dataset in a directory, or at an http(s) URL, against its signed manifest.

    `public_key` is minisign's base64 text or the path of a file with it. `scan_id` is the scan that the dataset must
    be: a manifest of another one is signed as well. `names` limits the check to these files, and `present` to those
    that are there. Raises NotAsSignedError or UnreadableError; each file is logged as it is checked.
    """
    key = _read_public_key(public_key)
    manifest, trusted_comment = _signed_manifest(dataset, key)
    if scan_id not in (None, manifest.scan_id):
        raise NotAsSignedError(f"{dataset} is scan {manifest.scan_id}, not {scan_id}")
    problems = [f"{name!r:.200}: the manifest names no such file" for name in names if name not in _names(manifest)]
    checked, absent = [], []
    for file in manifest.files:
        if names and file.name not in names:
            continue
        try:
            _check(dataset, file)
        except FileNotFoundError:
            absent.append(file.name)
            if not present:
                problems.append(f"{file.name}: missing")
        except NotAsSignedError as error:
            problems.append(str(error))
        except UnreadableError as error:
            if not problems:
                raise
            problems.append(f"{error}; what comes after it was not checked")
            break
        else:
            checked.append(file.name)
            log.info("%s: OK", file.name)
    if problems:
        raise NotAsSignedError(f"{dataset} is not scan {manifest.scan_id} as it was signed:\n" + "\n".join(problems))
    return Verification(manifest, trusted_comment, checked, absent, _unsigned(dataset, manifest))


def _read_public_key(text_or_path: str) -> minisign.PublicKey:
    try:
        if _PUBLIC_KEY.fullmatch(text_or_path):
            return minisign.PublicKey.from_base64(text_or_path)
        with Path(text_or_path).open("rb") as file:
            return minisign.PublicKey.from_bytes(file.read(_SIGNATURE_BYTES))
    except OSError as error:
        raise UnreadableError(
            f"the public key is neither minisign's base64 text nor a readable file: {error}"
        ) from error
    except minisign.Error as error:
        raise UnreadableError(f"{text_or_path} is no public key of minisign: {error}") from error


def _signed_manifest(dataset: str, key: minisign.PublicKey) -> tuple[Manifest, str]:
    """Return the manifest and the trusted comment of its signature."""
    content = _read(dataset, MANIFEST, _MANIFEST_BYTES)
    try:
        signature = minisign.Signature.from_bytes(_read(dataset, SIGNATURE, _SIGNATURE_BYTES))
        key.verify(content, signature)
    except minisign.Error as error:
        raise NotAsSignedError(
            f"{dataset}: {SIGNATURE} is no signature of {MANIFEST} with this public key: {error}"
        ) from error
    try:
        return parse_manifest(content), signature.trusted_comment
    except ManifestError as error:
        raise NotAsSignedError(f"{dataset}: {MANIFEST} is signed, but {error}") from error


def _read(dataset: str, name: str, limit: int) -> bytes:
    try:
        file, _ = _open(dataset, name)
    except FileNotFoundError:
        raise UnreadableError(f"there is no {name} in {dataset}, and without it nothing can be verified") from None
    with file:
        content = _read_block(file, name, limit + 1)
    if len(content) > limit:
        raise NotAsSignedError(f"{name}: over {limit} bytes, which none has")
    return content


def _check(dataset: str, signed: ManifestFile) -> None:
    """Check one file, reading no more of it than it should have.

    Raises FileNotFoundError, NotAsSignedError or UnreadableError.
    """
    file, size = _open(dataset, signed.name)
    digest, done, logged = hashlib.sha256(), 0, time.monotonic()
    with file:
        if size is not None and size != signed.size:
            raise NotAsSignedError(f"{signed.name}: {size} bytes, the manifest says {signed.size}")
        while done <= signed.size and (block := _read_block(file, signed.name, _MIB)):
            digest.update(block)
            done += len(block)
            if time.monotonic() - logged >= _PROGRESS_INTERVAL:
                logged = time.monotonic()
                log.info("Checking %s: %d of %d MiB", signed.name, done // _MIB, signed.size // _MIB)
    if done != signed.size:
        how = "over" if done > signed.size else "only"
        raise NotAsSignedError(f"{signed.name}: {how} {min(done, signed.size)} bytes, the manifest says {signed.size}")
    if digest.hexdigest() != signed.sha256:
        raise NotAsSignedError(f"{signed.name}: sha256 {digest.hexdigest()}, the manifest says {signed.sha256}")


def _open(dataset: str, name: str) -> tuple[IO[bytes], int | None]:
    """Open a file of the dataset and say how many bytes it has, if that is known; raises as _check does."""
    if _is_url(dataset):
        return _open_url(f"{dataset.rstrip('/')}/{quote(name)}")
    path = Path(dataset) / name
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAsSignedError(f"{name}: a symbolic link") from error
        raise UnreadableError(f"cannot read {path}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotAsSignedError(f"{name}: not a regular file")
    return os.fdopen(descriptor, "rb"), status.st_size


def _open_url(url: str) -> tuple[IO[bytes], int | None]:
    try:
        answer = urlopen(url, timeout=_SILENCE)  # noqa: S310 - the scheme is http or https, and redirects stay there
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(url) from error
        raise UnreadableError(f"{url}: {error.code} {error.reason!r:.100}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnreadableError(f"cannot read {url}: {error}") from error
    return answer, answer.length


def _read_block(file: IO[bytes], name: str, size: int) -> bytes:
    try:
        return file.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise UnreadableError(f"reading {name} broke off: {error}") from error


def _unsigned(dataset: str, manifest: Manifest) -> list[str]:
    if _is_url(dataset):
        return []
    try:
        there = {path.name for path in Path(dataset).iterdir()}
    except OSError as error:
        raise UnreadableError(f"cannot list {dataset}: {error.strerror}") from error
    return sorted(there - _names(manifest) - {MANIFEST, SIGNATURE})


def _names(manifest: Manifest) -> set[str]:
    return {file.name for file in manifest.files}


def _is_url(dataset: str) -> bool:
    return urlsplit(dataset).scheme in ("http", "https")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pypi_scan.verify", description="Check a published scan against its signed manifest."
    )
    parser.add_argument("dataset", help="directory of the scan, or its URL")
    parser.add_argument("names", nargs="*", metavar="name", help="files to check (default: all)")
    parser.add_argument("--public-key", required=True, help="minisign's base64 text, or a file with it")
    parser.add_argument("--scan-id", help="the scan that it must be")
    parser.add_argument("--present", action="store_true", help="check only the files that are there")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        found = verify_dataset(
            options.dataset, options.public_key, scan_id=options.scan_id, names=options.names, present=options.present
        )
    except NotAsSignedError as error:
        print(f"NOT verified: {error}", file=sys.stderr)
        return 1
    except UnreadableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if found.absent:
        print(f"Not there: {', '.join(found.absent)}")
    if found.unsigned:
        print(f"Not covered by the signature: {', '.join(map(ascii, found.unsigned))}")
    print(f"Verified scan {found.manifest.scan_id}: {len(found.checked)} of {len(found.manifest.files)} files")
    print(f"Trusted comment: {found.trusted_comment}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
