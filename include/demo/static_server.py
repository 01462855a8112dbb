"""A small HTTP server of a directory, on the loopback interface unless told otherwise.

It serves the mirror's ``web/`` to workers and to pip, and is the base of the demo's upstream. Compared with the
standard library's handler it answers many small requests quickly (no Nagle delay, buffered writes, connections kept
open) and never follows a link out of its root.
"""

import shutil
import socket
import socketserver
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

LOOPBACK = "127.0.0.1"
_CONTENT_TYPES = {
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".metadata": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".v1_html": "application/vnd.pypi.simple.v1+html",
    ".v1_json": "application/vnd.pypi.simple.v1+json",
    ".whl": "application/zip",
    ".xml": "application/xml",
    ".zip": "application/zip",
}


@dataclass(frozen=True)
class Response:
    """What a request is answered with; a body that is a path is sent from that file."""

    status: HTTPStatus
    body: bytes | Path = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class StaticServer:
    """Serves the files below `root`, read-only, while used as a context manager; `port` 0 takes a free one of `host`.

    A server that is started again after `stop` keeps its port, so that a client sees it come back. `tamper` may be set
    to what changes a response, of this decoded URL path, on its way out, as a server in trouble would.
    """

    tamper: Callable[[str, Response], Response] | None = None

    def __init__(self, root: Path, host: str = LOOPBACK, port: int = 0) -> None:
        self.root = root.resolve()
        self._host, self._port = host, port
        self._http: _HTTPServer | None = None

    @property
    def port(self) -> int:
        """The port it listens on; of one that takes a free port, 0 before the first start."""
        return self._port

    @property
    def url(self) -> str:
        """The address to reach it at, without a trailing slash."""
        return f"http://{self._host}:{self._port}"

    def start(self) -> None:
        """Listen and answer in the background."""
        self._http = _HTTPServer((self._host, self._port), self)
        self._port = self._http.server_port
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening and close every connection; harmless if it is not running."""
        if self._http is not None:
            self._http.shutdown()
            self._http.close_connections()
            self._http.server_close()
            self._http = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, path: str) -> Response:
        """Return the response for this decoded URL path; subclasses add what is more than a file."""
        target = self._inside_root(path)
        if target is not None and target.is_dir():
            if not path.endswith("/"):  # relative links on an index page need the slash
                location = quote(f"/{path.strip('/')}/", errors="surrogateescape")
                return Response(HTTPStatus.MOVED_PERMANENTLY, headers={"Location": location})
            target = self._inside_root(f"{path}index.html")
        if target is None or not target.is_file():
            return not_found(path)
        return Response(HTTPStatus.OK, target, _content_type(target))

    def _inside_root(self, path: str) -> Path | None:
        """Return the file or directory meant by a URL path, None if there is none below the root."""
        try:
            target = (self.root / path.strip("/")).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # no such file, a name too long, a loop of links, a NUL byte
            return None
        return target if target.is_relative_to(self.root) else None


def not_found(path: str) -> Response:
    """Return a 404 for this path."""
    return Response(HTTPStatus.NOT_FOUND, f"not found: {path}\n".encode("utf-8", "backslashreplace"))


def _content_type(file: Path) -> str:
    if file.suffix in _CONTENT_TYPES:
        return _CONTENT_TYPES[file.suffix]
    # bandersnatch keeps a package's document as json/<package> and pypi/<package>/json, without a suffix.
    is_document = file.name == "json" or file.parent.name == "json"
    return "application/json" if is_document else "application/octet-stream"


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: StaticServer) -> None:
        self.site = site
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the reverse DNS look-up of HTTPServer, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Cut the connections that clients keep open: a stopped server must not go on answering on them."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was quicker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that hang up; anything else is worth a traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _HTTPServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path, errors="surrogateescape")
        site = self.server.site
        response = site.answer(path)
        if site.tamper:
            response = site.tamper(path, response)
        if isinstance(response.body, bytes):
            self._send_head(response, len(response.body))
            self.wfile.write(response.body)
            return
        with response.body.open("rb") as file:
            # The size of the file that was opened: a file replaced meanwhile would not match its length.
            size = file.seek(0, 2)
            file.seek(0)
            self._send_head(response, size)
            shutil.copyfileobj(file, self.wfile)

    def _send_head(self, response: Response, size: int) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(size))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Keep quiet: the clients say what failed."""
