"""Verifying a dataset in a directory and on a CDN: what is as it was signed, and everything that is not."""

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from demo.object_store import ObjectStore
from pypi_scan import verify
from pypi_scan.publish import Cdn, publish_directory
from pypi_scan.signing import SigningKey, new_key_pair, sign_file
from pypi_scan.verify import NotAsSignedError, UnreadableError, main, verify_dataset

COMMENT = "scan 2026-11-01 as of 2026-11-01T00:00:00Z"
FILES = {"dataset.zst": os.urandom(3 << 20), "empty.txt": b"", "joblog.txt": b"Seq\n"}


class Dataset:
    """A signed dataset in a directory. Change what it holds to tell a lie."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        secret, public = new_key_pair()
        self.key = SigningKey(secret)
        self.public_key = public.split()[-1]
        directory.mkdir()
        for name, content in FILES.items():
            (directory / name).write_bytes(content)
        self.manifest: dict[str, Any] = {
            "scan_id": "2026-11-01",
            "as_of": "2026-11-01T00:00:00Z",
            "mirror_serial": 123,
            "scanner": {"scanner": "aura-security", "version": "2.1", "python": "3.11.7", "settings": {}},
            "versions": {},
            "counts": {"input": 1, "records": 1, "by_status": {"ok": 1}},
            "files": [file_entry(name, content) for name, content in FILES.items()],
        }
        self.sign()

    def sign(self) -> None:
        (self.directory / "manifest.json").write_text(json.dumps(self.manifest))
        sign_file(self.directory / "manifest.json", self.key, COMMENT)

    def verify(self, **options: Any) -> verify.Verification:
        return verify_dataset(str(self.directory), self.public_key, **options)


def file_entry(name: str, content: bytes) -> dict[str, Any]:
    digests = {algorithm: hashlib.new(algorithm, content).hexdigest() for algorithm in ("sha256", "md5")}
    return {"name": name, "size": len(content), **digests}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "2026-11-01")


@pytest.fixture
def url(dataset: Dataset, cdn: Cdn, store: ObjectStore) -> str:
    """The dataset on the CDN, read over plain HTTP."""
    prefix = f"verify/{cdn.bucket}"
    publish_directory(replace(cdn, bucket=store.bucket), dataset.directory, prefix, immutable=True)
    return f"{store.public_url}/{prefix}/"


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None], directory: Path) -> Iterator[str]:
    """Serve the manifest and its signature, and for every other file what `answer` does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "manifest" not in self.path:
                answer(self)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write((directory / self.path.removeprefix("/")).read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def test_a_dataset_is_verified_where_it_lies(dataset: Dataset, url: str) -> None:
    (dataset.directory / "checksums.sha256.txt").write_text("")
    for where, unsigned in ((str(dataset.directory), ["checksums.sha256.txt"]), (url, [])):
        found = verify_dataset(where, dataset.public_key, scan_id="2026-11-01")
        assert found.manifest.mirror_serial == 123
        assert (found.trusted_comment, found.checked) == (COMMENT, list(FILES))
        assert (found.absent, found.unsigned) == ([], unsigned)


@pytest.mark.skipif(not shutil.which("minisign"), reason="minisign is not installed")
@pytest.mark.parametrize("form", [[], ["-l"]], ids=["hashed", "legacy"])
def test_signatures_and_keys_of_minisign_are_understood(dataset: Dataset, tmp_path: Path, form: list[str]) -> None:
    for command in (["-GW", "-p", "key.pub", "-s", "key"], ["-SW", *form, "-s", "key", "-t", "by minisign"]):
        target = ["-m", str(dataset.directory / "manifest.json")] if command[0] == "-SW" else []
        subprocess.run(["minisign", *command, *target], cwd=tmp_path, check=True, capture_output=True)
    public = tmp_path / "key.pub"
    for key in (str(public), public.read_text().split()[-1]):
        assert verify_dataset(str(dataset.directory), key).trusted_comment == "by minisign"
    with pytest.raises(NotAsSignedError, match=r"no signature of manifest\.json with this public key"):
        dataset.verify()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\0" + FILES["dataset.zst"][1:], "dataset.zst: sha256 "),
        (FILES["dataset.zst"] + b" ", "dataset.zst: 3145729 bytes, the manifest says 3145728"),
        (b"", "dataset.zst: 0 bytes, the manifest says 3145728"),
        (None, "dataset.zst: missing"),
    ],
    ids=["changed", "longer", "empty", "missing"],
)
def test_a_file_that_is_not_as_signed_is_named(
    dataset: Dataset, cdn: Cdn, store: ObjectStore, content: bytes | None, problem: str
) -> None:
    path = dataset.directory / "dataset.zst"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (dataset.directory / "joblog.txt").write_bytes(b"")
    prefix = f"verify/{cdn.bucket}"
    publish_directory(replace(cdn, bucket=store.bucket), dataset.directory, prefix, immutable=True)
    for where in (str(dataset.directory), f"{store.public_url}/{prefix}"):
        with pytest.raises(NotAsSignedError) as raised:
            verify_dataset(where, dataset.public_key)
        _, first, second = str(raised.value).splitlines()
        assert first.startswith(problem)
        assert second == "joblog.txt: 0 bytes, the manifest says 4"


@pytest.mark.parametrize("tampered", ["manifest", "comment", "signature", "key", "garbage"])
def test_nothing_is_believed_without_a_good_signature(dataset: Dataset, tampered: str) -> None:
    manifest, signature = dataset.directory / "manifest.json", dataset.directory / "manifest.json.minisig"
    if tampered == "manifest":
        manifest.write_text(manifest.read_text().replace("123", "124"))
    elif tampered == "comment":
        signature.write_text(signature.read_text().replace("11-01", "12-01"))
    elif tampered == "signature":
        signature.write_bytes(dataset.key.sign(b"something else", COMMENT))
    elif tampered == "key":
        dataset.public_key = new_key_pair()[1].split()[-1]
    else:
        signature.write_bytes(b"\xff\n" * 4)
    with pytest.raises(NotAsSignedError, match=r"no signature of manifest\.json with this public key"):
        dataset.verify()


def test_what_is_too_large_for_a_signature_is_not_read(dataset: Dataset) -> None:
    (dataset.directory / "manifest.json.minisig").write_bytes(b"x" * (1 << 20))
    with pytest.raises(NotAsSignedError, match=r"manifest\.json\.minisig: over 16384 bytes, which none has"):
        dataset.verify()


def test_another_signed_scan_is_refused(dataset: Dataset) -> None:
    with pytest.raises(NotAsSignedError, match=r"is scan 2026-11-01, not 2026-12-01"):
        dataset.verify(scan_id="2026-12-01")


@pytest.mark.parametrize("name", ["../joblog.txt", "/etc/passwd", "..", "sub/file", "a\nb", ""])
def test_a_manifest_with_names_that_are_no_files_is_refused(dataset: Dataset, name: str) -> None:
    dataset.manifest["files"].append(file_entry(name, b""))
    dataset.sign()
    with pytest.raises(NotAsSignedError, match=r"manifest\.json is signed, but not a file name"):
        dataset.verify()


@pytest.mark.parametrize("size", [10**18, 10**30])
def test_a_huge_size_is_compared_and_not_read(dataset: Dataset, size: int) -> None:
    dataset.manifest["files"][0]["size"] = size
    dataset.sign()
    with pytest.raises(NotAsSignedError, match=f"3145728 bytes, the manifest says {size}|not a manifest"):
        dataset.verify()


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_only_regular_files_of_the_directory_count(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    path = dataset.directory / "joblog.txt"
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
        if kind == "link":
            (tmp_path / "elsewhere").write_bytes(FILES["joblog.txt"])
    with pytest.raises(NotAsSignedError, match=r"joblog\.txt: (a symbolic link|not a regular file)"):
        dataset.verify()


def test_only_some_files_are_checked(dataset: Dataset, url: str) -> None:
    (dataset.directory / "dataset.zst").unlink()
    found = dataset.verify(present=True)
    assert (found.checked, found.absent) == (["empty.txt", "joblog.txt"], ["dataset.zst"])
    assert dataset.verify(names=["joblog.txt"]).checked == ["joblog.txt"]
    assert verify_dataset(url, dataset.public_key, names=["dataset.zst"]).checked == ["dataset.zst"]
    with pytest.raises(NotAsSignedError, match=r"'checksums\.sha256\.txt': the manifest names no such file"):
        dataset.verify(names=["joblog.txt", "checksums.sha256.txt"])
    (dataset.directory / "joblog.txt").write_bytes(b"seq\n")
    with pytest.raises(NotAsSignedError, match=r"joblog\.txt: sha256"):
        dataset.verify(present=True)


def test_a_server_that_sends_too_much_is_read_no_further_than_the_size(dataset: Dataset) -> None:
    left = threading.Event()

    def too_much(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(1 << 10):
                request.wfile.write(bytes(1 << 16))
        except OSError:
            left.set()

    with server(too_much, dataset.directory) as address:
        with pytest.raises(NotAsSignedError, match=r"dataset\.zst: over 3145728 bytes"):
            verify_dataset(address, dataset.public_key)
        assert left.wait(10)


def test_a_file_that_breaks_off_is_not_taken_for_whole(dataset: Dataset) -> None:
    def broken(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(FILES["dataset.zst"])))
        request.end_headers()
        request.wfile.write(FILES["dataset.zst"][:-1])

    with (
        server(broken, dataset.directory) as address,
        pytest.raises(NotAsSignedError, match="only 3145727 bytes, the manifest says 3145728"),
    ):
        verify_dataset(address, dataset.public_key, names=["dataset.zst"])


def test_a_server_that_fails_is_no_verdict(dataset: Dataset) -> None:
    with (
        server(lambda request: request.send_error(503), dataset.directory) as address,
        pytest.raises(UnreadableError, match=r"dataset\.zst: 503"),
    ):
        verify_dataset(address, dataset.public_key, present=True)
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UnreadableError, match=r"cannot read http://127.*manifest\.json: .*refused"):
            verify_dataset(f"http://127.0.0.1:{closed.getsockname()[1]}", dataset.public_key)


def test_what_was_found_wrong_before_a_server_fails_is_told(dataset: Dataset) -> None:
    with (
        server(lambda request: request.send_error(404 if "zst" in request.path else 503), dataset.directory) as address,
        pytest.raises(NotAsSignedError, match=r"dataset\.zst: missing\n.*empty\.txt: 503 .* was not checked"),
    ):
        verify_dataset(address, dataset.public_key)


def test_large_files_log_progress(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_PROGRESS_INTERVAL", 0.0)
    with caplog.at_level(logging.INFO):
        dataset.verify()
    assert [message for message in caplog.messages if "dataset.zst" in message] == [
        *(f"Checking dataset.zst: {number} of 3 MiB" for number in (1, 2, 3)),
        "dataset.zst: OK",
    ]


def test_exit_codes_and_what_is_printed(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(dataset.directory), "--public-key", dataset.public_key]
    (dataset.directory / "what\x1b[2Jever").write_bytes(b"")
    assert main([*command, "--scan-id", "2026-11-01"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Not covered by the signature: 'what\\x1b[2Jever'",
        "Verified scan 2026-11-01: 3 of 3 files",
        f"Trusted comment: {COMMENT}",
    ]
    (dataset.directory / "joblog.txt").unlink()
    assert main([*command, "--present"]) == 0
    assert "Not there: joblog.txt\n" in capsys.readouterr().out
    assert main(command) == 1
    assert "joblog.txt: missing" in capsys.readouterr().err
    (dataset.directory / "manifest.json.minisig").unlink()
    assert main(command) == 2
    assert f"there is no manifest.json.minisig in {dataset.directory}" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["no-such-file", "RW" + "A" * 54, __file__])
def test_what_is_no_public_key_is_no_verdict(dataset: Dataset, key: str) -> None:
    with pytest.raises(UnreadableError, match="public key"):
        verify_dataset(str(dataset.directory), key)
