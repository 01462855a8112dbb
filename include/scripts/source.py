"""Where prefetch takes release files from: the mirror's ``web/`` over HTTP, or the same directory mounted here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import urllib3  # type: ignore[import-untyped,unused-ignore]
from urllib3.exceptions import (  # type: ignore[import-untyped,unused-ignore]
    HTTPError,
    MaxRetryError,
    ProtocolError,
    ReadTimeoutError,
)

from program import ProgramError

_CHUNK = 256 * 1024  # bytes
_IN_TROUBLE = (429, 500, 502, 503, 504)  # HTTP statuses worth another try
_ATTEMPTS = 4  # of one request, with growing pauses between them

Save = Callable[[Iterator[bytes]], None]


class SourceError(Exception):
    """A file cannot be had. `answered` is False where the source itself could not be reached or is in trouble."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class Source(Protocol):
    """Something that has the files of a mirror. Used by several threads at once."""

    def fetch(self, path: str, save: Save) -> None:
        """Call `save` with the content of the file at `path` (relative to ``web/``), in chunks.

        `save` is called again, from the start, where the connection broke. Raises SourceError, and what `save` raises.
        """


class HttpSource:
    """A mirror's ``web/`` at an HTTP(S) URL; keeps up to `connections` of them open."""

    def __init__(self, url: str, connections: int, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(maxsize=connections, block=True, timeout=urllib3.Timeout(timeout))
        self._retry = urllib3.Retry(
            total=_ATTEMPTS - 1, redirect=2, backoff_factor=0.2, status_forcelist=_IN_TROUBLE, raise_on_status=False
        )

    def fetch(self, path: str, save: Save) -> None:
        url = f"{self._url}/{quote(path)}"
        retry = self._retry.new()
        while True:
            try:
                self._attempt(url, retry, save)
                return
            except MaxRetryError as error:
                raise SourceError(f"no answer: {error.reason}", answered=False) from error
            except (ProtocolError, ReadTimeoutError) as error:  # in the middle of the content: Retry does not see it
                try:
                    retry = retry.increment("GET", url, error=error)
                except MaxRetryError:
                    raise SourceError(f"the connection broke: {error}", answered=False) from error
                retry.sleep()
            except HTTPError as error:
                raise SourceError(f"cannot be asked for: {error}", answered=False) from error

    def _attempt(self, url: str, retry: urllib3.Retry, save: Save) -> None:
        # The sizes and digests of a shard are of the files as they are: no content coding on the way.
        headers = {"Accept-Encoding": "identity"}
        response = self._pool.request(
            "GET", url, headers=headers, retries=retry, preload_content=False, enforce_content_length=True
        )
        try:
            if response.status != 200:
                raise SourceError(f"HTTP status {response.status}", answered=response.status not in _IN_TROUBLE)
            save(response.stream(_CHUNK, decode_content=False))
        except BaseException:
            response.close()  # with content unread the connection is of no more use
            raise
        finally:
            response.release_conn()  # also a closed one: its place in the pool is needed


class PathSource:
    """A mirror's ``web/`` mounted at a path."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ProgramError(f"the source {root} is not a directory; mount the mirror's web/ there")
        self._root = root

    def fetch(self, path: str, save: Save) -> None:
        try:
            file = (self._root / path).open("rb")
        except OSError as error:
            raise SourceError(f"cannot be opened: {error.strerror}", answered=self._root.is_dir()) from error
        with file:
            save(self._chunks(file.read))

    def _chunks(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        while True:
            try:
                chunk = read(_CHUNK)
            except OSError as error:
                raise SourceError(f"cannot be read: {error.strerror}", answered=False) from error
            if not chunk:
                return
            yield chunk
