"""The demo's upstream: the package index that bandersnatch mirrors."""

import json
import re
from http import HTTPStatus
from pathlib import Path

from demo.static_server import LOOPBACK, Response, StaticServer, not_found
from demo.upstream.tree import ORIGIN

_DOCUMENT = re.compile(r"/pypi/[^/]+/json")
_PAGE = re.compile(r"/simple/([^/]+)/")


class UpstreamServer(StaticServer):
    """Serves the tree that `build_upstream` made at `destination`; where, as StaticServer does.

    It answers what bandersnatch asks for: ``/simple`` (PEP 691), ``/pypi/<name>/json`` with the header
    ``X-PyPI-Last-Serial``, and the files below ``/packages``; and, of projects that have a status (PEP 792), the page
    ``/simple/<name>/``. While it runs, entries of `faults` (URL path -> status)
    make those paths fail, as an upstream in trouble would: ``server.faults["/simple"] = HTTPStatus.BAD_GATEWAY``. A
    whole response (`damaged`, for one) takes the place of the right one.
    """

    def __init__(self, destination: Path, host: str = LOOPBACK, port: int = 0) -> None:
        super().__init__(destination / "web", host, port)
        self.faults: dict[str, HTTPStatus | Response] = {}

    def answer(self, path: str) -> Response:
        """Return the response for this decoded URL path."""
        if fault := self.faults.get(path):
            return fault if isinstance(fault, Response) else Response(fault, f"{fault.phrase}\n".encode())
        if path in ("/simple", "/simple/"):
            return super().answer("/simple/index.v1_json")
        if _DOCUMENT.fullmatch(path):
            return self._document(path)
        if page := _PAGE.fullmatch(path):
            return super().answer(f"/simple/{page[1]}/index.v1_json")
        if path.startswith("/packages/"):
            return super().answer(path)
        return not_found(path)

    def _document(self, path: str) -> Response:
        """Return a package's document, its URLs pointing at this server."""
        response = super().answer(path)
        if not isinstance(response.body, Path):
            return response
        text = response.body.read_text(encoding="utf-8").replace(ORIGIN, self.url)
        serial = str(json.loads(text)["last_serial"])
        return Response(response.status, text.encode(), response.content_type, {"X-PyPI-Last-Serial": serial})


def damaged(body: bytes, serial: int = 0) -> Response:
    """Return a document that is not what it should be: with `body`, and perhaps a serial in its header."""
    return Response(HTTPStatus.OK, body, "application/json", {"X-PyPI-Last-Serial": str(serial)} if serial else {})


def garbled() -> Response:
    """Return a response whose transfer fails: it is not encoded as it says."""
    return Response(HTTPStatus.OK, b"no gzip", "application/octet-stream", {"Content-Encoding": "gzip"})
