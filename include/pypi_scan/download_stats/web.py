"""Reading an HTTP answer within bounds: tried again where that may help, never for ever, never more than memory takes.

`requests` rather than urllib3 alone: it takes the proxy of the environment.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pypi_scan.download_stats.source import DownloadStatsError

_TIMEOUT = (10.0, 120.0)  # seconds to connect, and that the server may be silent while it computes
_ANSWER_SECONDS = 900.0
_ANSWER_BYTES = 256 * 2**20  # all of PyPI is some 40 MB
_CHUNK_BYTES = 64 * 1024
_ERROR_BYTES = 300  # of the body of an error that are quoted
# Short: the next source, and then Airflow's own retries, come after these. A quota's Retry-After is minutes, so that
# it is not waited for.
_RETRY = Retry(
    total=2,
    backoff_factor=0.5,
    status_forcelist=(502, 503, 504),
    allowed_methods=("GET", "POST"),
    raise_on_status=False,
    respect_retry_after_header=False,
)


@contextmanager
def answer(method: str, url: str, source: str, **request: object) -> Iterator[Iterator[bytes]]:
    """Send a request and give the body of its answer in pieces; `request` is passed on to `requests`.

    Raises DownloadStatsError, naming `source` and quoting the server, for no connection, a status other than 200, a
    body that breaks off, and one of over 256 MiB or 15 minutes; also while the body is read.
    """
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=_RETRY))
        session.mount("https://", HTTPAdapter(max_retries=_RETRY))
        try:
            with session.request(method, url, stream=True, timeout=_TIMEOUT, **request) as response:  # type: ignore[arg-type]
                if response.status_code != requests.codes.ok:
                    said = next(response.iter_content(_ERROR_BYTES), b"").decode(errors="replace").strip()
                    raise DownloadStatsError(f"{source}: {url} answered {response.status_code}: {said!r}")
                yield _bounded(response, url, source)
        except requests.RequestException as error:
            raise DownloadStatsError(f"{source}: {url} cannot be read: {error}") from error


def _bounded(response: requests.Response, url: str, source: str) -> Iterator[bytes]:
    deadline = time.monotonic() + _ANSWER_SECONDS
    size = 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        size += len(chunk)
        if size > _ANSWER_BYTES:
            raise DownloadStatsError(f"{source}: the answer of {url} is larger than {_ANSWER_BYTES} bytes; given up")
        if time.monotonic() > deadline:
            raise DownloadStatsError(f"{source}: the answer of {url} took over {_ANSWER_SECONDS:.0f} s; given up")
        yield chunk
