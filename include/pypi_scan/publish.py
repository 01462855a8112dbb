"""Uploads to the origin of the CDN: any object store that speaks S3.

Each file's SHA-256 goes with it, as the object's metadata, so that publishing again asks the origin about every file
but reads none back. An upload that died leaves nothing that is public; the next one of the same files completes it.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import quote

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

logger = logging.getLogger(__name__)

_MIB = 1 << 20
_PROGRESS_INTERVAL = 5.0  # seconds
_CACHE_IMMUTABLE = "public, max-age=31536000, immutable"
_CACHE_SHORT = "public, max-age=300"
_DEFAULT_CONTENT_TYPE = "application/octet-stream"

# Content-Encoding is never set: clients would unpack a .gz on the way and find that its checksum does not match.
_CONTENT_TYPES: Final = {
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".minisig": "text/plain; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".pub": "text/plain; charset=utf-8",
    ".tgz": "application/gzip",
    ".torrent": "application/x-bittorrent",
    ".txt": "text/plain; charset=utf-8",
    ".xml": "application/atom+xml; charset=utf-8",
    ".zst": "application/zstd",
}

# Parts of 16 MiB, four at once: small enough for origins that buffer parts, and boto3 enlarges them where a file would
# need more than the 10,000 parts that S3 allows.
_TRANSFER = TransferConfig(multipart_threshold=16 * _MIB, multipart_chunksize=16 * _MIB, max_concurrency=4)

_SHA256 = "sha256"  # in an object's metadata: x-amz-meta-sha256

_KEYS_REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class PublishError(Exception):
    """Something could not be published or read back; the message says what, why and what to do."""


class ImmutableObjectError(PublishError):
    """An object that must never change is already public with other bytes."""


class PublishSummary(TypedDict):
    """Names of the files uploaded, in that order, and of those already there; bytes uploaded."""

    uploaded: list[str]
    unchanged: list[str]
    bytes: int


@dataclass(frozen=True)
class Cdn:
    """A bucket and the URL, without trailing slash, under which everybody can read its objects."""

    client: "S3Client"
    bucket: str
    public_url: str

    def url(self, key: str) -> str:
        """Return the public URL of the object with this key."""
        return f"{self.public_url}/{quote(key)}"


def make_client(endpoint_url: str | None, access_key: str, secret_key: str, region: str) -> "S3Client":
    """Return a client for the S3 API at `endpoint_url`, or at AWS itself if that is None.

    Uses these keys only, whatever the environment holds. Raises PublishError for an impossible endpoint or region.
    """
    config = Config(
        s3={"addressing_style": "path"},
        retries={"mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
        # boto3's newer default sends checksums as trailers of an "aws-chunked" body; some origins refuse that and some
        # keep it as the object's Content-Encoding.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=region,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise PublishError(f"the CDN origin cannot be used: {error}; correct the CDN connection") from error


def publish_directory(
    cdn: Cdn, directory: Path, prefix: str, *, last: tuple[str, ...] = (), immutable: bool
) -> PublishSummary:
    """Upload the files of `directory` as ``<prefix>/<name>``, by name, then those in `last` in the order given there.

    What others rely on to find or check the rest belongs in `last`: it is uploaded only after everything else was.
    Files with a leading dot are temporary and left out.

    What is already there with the same bytes is left alone. Immutable objects may be cached for ever; if one is there
    with other bytes, ImmutableObjectError is raised before anything is uploaded. Objects that are not immutable are
    replaced, and caches keep them for five minutes.

    Parts that an earlier upload of these files left unfinished are removed, so only one publisher may be at work on
    them. Raises PublishError if the directory is not as described or the origin cannot be written to.
    """
    prefix = prefix.strip("/")
    files = _files_in_order(directory, last)
    keys = {path: f"{prefix}/{path.name}" for path in files}
    digests = {path: _sha256(path) for path in files}
    unchanged = [path for path in files if _is_published(cdn, keys[path], path, digests[path], immutable=immutable)]
    _abort_unfinished(cdn, prefix, keys.values())
    summary = PublishSummary(uploaded=[], unchanged=[path.name for path in unchanged], bytes=0)
    for path in files:
        if path not in unchanged:
            cache_control = _CACHE_IMMUTABLE if immutable else _CACHE_SHORT
            summary["bytes"] += _upload(cdn, keys[path], path, digests[path], cache_control)
            summary["uploaded"].append(path.name)
    logger.info(
        "Published %d files (%d bytes) to %s, %d were there already",
        len(summary["uploaded"]),
        summary["bytes"],
        cdn.url(prefix),
        len(unchanged),
    )
    return summary


def publish_bytes(cdn: Cdn, key: str, content: bytes) -> None:
    """Upload a small object that will be replaced now and then; raises PublishError."""
    with _explained(cdn, f"uploading {key}"):
        cdn.client.put_object(
            Bucket=cdn.bucket, Key=key, Body=content, ContentType=_content_type(key), CacheControl=_CACHE_SHORT
        )


def read_object(cdn: Cdn, key: str) -> bytes | None:
    """Return the content of an object that fits into memory, None if there is none; raises PublishError."""
    with _explained(cdn, f"reading {key}"):
        try:
            return cdn.client.get_object(Bucket=cdn.bucket, Key=key)["Body"].read()
        except cdn.client.exceptions.NoSuchKey:
            return None


def download_object(cdn: Cdn, key: str, target: Path) -> None:
    """Write the content of an object of any size to `target`; raises PublishError."""
    with _explained(cdn, f"downloading {key}"):
        cdn.client.download_file(cdn.bucket, key, str(target), Config=_TRANSFER)


def list_prefixes(cdn: Cdn, prefix: str) -> list[str]:
    """Return the names of the "directories" directly below `prefix` (which ends with a slash); raises PublishError."""
    names = []
    with _explained(cdn, f"listing {prefix}"):
        pages = cdn.client.get_paginator("list_objects_v2").paginate(Bucket=cdn.bucket, Prefix=prefix, Delimiter="/")
        for page in pages:
            for common in page.get("CommonPrefixes", ()):
                names.append(common["Prefix"].removeprefix(prefix).removesuffix("/"))
    return names


def _files_in_order(directory: Path, last: tuple[str, ...]) -> list[Path]:
    try:
        entries = [path for path in directory.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise PublishError(f"nothing to publish: {error}; run the steps that make these files first") from error
    for path in entries:
        if path.is_symlink() or not path.is_file():
            raise PublishError(f"{path} is not a regular file; only what was made to be published may lie there")
    files = {path.name: path for path in sorted(entries)}
    for name in last:
        if name not in files:
            raise PublishError(f"{directory / name} is missing; run the steps that make it first")
    return [path for name, path in files.items() if name not in last] + [files[name] for name in last]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PublishError(
            f"reading {path} failed: {error}; check the disk and the permissions of the control host"
        ) from error


def _is_published(cdn: Cdn, key: str, path: Path, sha256: str, *, immutable: bool) -> bool:
    """Say whether the object exists with the bytes of `path`.

    Raises ImmutableObjectError if one that must not change has others. Not every store keeps metadata, and an ETag is
    no digest once an upload had several parts: without metadata, an immutable object is read back.
    """
    with _explained(cdn, f"comparing {key} with {path}"):
        head = _head(cdn, key)
        if head is None:
            return False
        same = False
        if head["ContentLength"] == path.stat().st_size:
            # Names of metadata come back in whatever case the origin likes.
            remote = {name.lower(): value for name, value in head["Metadata"].items()}.get(_SHA256)
            if remote is None and immutable:
                remote = _read_back(cdn, key)
            same = remote == sha256
    if immutable and not same:
        raise ImmutableObjectError(
            f"{cdn.url(key)} is already public with other bytes than {path}, and nothing was uploaded: what is public "
            "under a scan id never changes; publish this under another one"
        )
    return same


def _read_back(cdn: Cdn, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in cdn.client.get_object(Bucket=cdn.bucket, Key=key)["Body"].iter_chunks(_MIB):
        digest.update(chunk)
    return digest.hexdigest()


def _head(cdn: Cdn, key: str) -> "HeadObjectOutputTypeDef | None":
    try:
        return cdn.client.head_object(Bucket=cdn.bucket, Key=key)
    except ClientError as error:
        if _code(error) in {"404", "NoSuchKey"}:
            return None
        raise


def _abort_unfinished(cdn: Cdn, prefix: str, keys: Collection[str]) -> None:
    """Remove the parts of uploads that died: nobody can see them, but they are stored and paid for."""
    with _explained(cdn, f"removing unfinished uploads below {prefix}"):
        pages = cdn.client.get_paginator("list_multipart_uploads").paginate(Bucket=cdn.bucket, Prefix=f"{prefix}/")
        try:
            uploads = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Key"] in keys]
        except ClientError as error:
            # NoSuchUpload is what rclone's server says of a bucket that never had an upload in parts.
            if _code(error) in {"NoSuchUpload", "NotImplemented"}:
                return
            raise
        for upload in uploads:
            cdn.client.abort_multipart_upload(Bucket=cdn.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            logger.info("Removed the parts of an upload of %s that died", upload["Key"])


def _upload(cdn: Cdn, key: str, path: Path, sha256: str, cache_control: str) -> int:
    """Upload one file and return its size in bytes."""
    with _explained(cdn, f"uploading {path} as {key}"):
        size = path.stat().st_size
        cdn.client.upload_file(
            str(path),
            cdn.bucket,
            key,
            ExtraArgs={
                "ContentType": _content_type(key),
                "CacheControl": cache_control,
                "Metadata": {_SHA256: sha256},
            },
            Callback=_Progress(key, size),
            Config=_TRANSFER,
        )
    return size


class _Progress:
    """Logs every few seconds how much of an upload is done; boto3 calls it from several threads."""

    def __init__(self, key: str, size: int) -> None:
        self._key = key
        self._size = size
        self._done = 0
        self._logged = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            if time.monotonic() - self._logged >= _PROGRESS_INTERVAL:
                self._logged = time.monotonic()
                logger.info("Uploading %s: %d of %d MiB", self._key, self._done // _MIB, self._size // _MIB)


def _content_type(key: str) -> str:
    return _CONTENT_TYPES.get(Path(key).suffix, _DEFAULT_CONTENT_TYPE)


@contextmanager
def _explained(cdn: Cdn, action: str) -> Iterator[None]:
    """Turn what boto3, the origin or the disk raise into a PublishError that says what to do."""
    try:
        yield
    except (BotoCoreError, ClientError, S3UploadFailedError, OSError) as error:
        raise PublishError(f"{action} failed: {_reason(cdn, error)}") from error


def _reason(cdn: Cdn, error: Exception) -> str:
    cause = error.__context__ if isinstance(error, S3UploadFailedError) else error
    endpoint = cdn.client.meta.endpoint_url
    if isinstance(cause, ClientError):
        code = _code(cause)
        if code in _KEYS_REFUSED:
            return (
                f"{endpoint} refuses the keys ({code}); check the key and secret of the CDN connection, and that they "
                f"may list, read and write bucket {cdn.bucket} and list and abort its multipart uploads"
            )
        if code == "NoSuchBucket":
            return f"bucket {cdn.bucket} does not exist at {endpoint}; create it or correct PYPI_SCAN_CDN_BUCKET"
        return f"{endpoint} answered: {cause}; try again, and look at the origin's log if it persists"
    if isinstance(cause, BotoCoreError):
        return f"{cause}; check that {endpoint} is the right endpoint of the CDN connection and that it runs"
    return f"{cause}; check the disk and the permissions of the control host"


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
