"""The static server: what it serves, and what it must not."""

import http.client
from dataclasses import replace
from pathlib import Path

import pytest

from demo.static_server import StaticServer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "simple" / "six").mkdir(parents=True)
    (root / "simple" / "six" / "index.html").write_text("<html>six</html>")
    (root / "json").mkdir()
    (root / "json" / "six").write_text("{}")
    (root / "pypi" / "six").mkdir(parents=True)
    (root / "pypi" / "six" / "json").write_text("{}")
    (root / "six-1.0-py3-none-any.whl").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "loop").symlink_to(root / "loop")
    (root / "linked").mkdir()
    (root / "linked" / "index.html").symlink_to(tmp_path / "secret.txt")
    return root


def get(server: StaticServer, path: str) -> tuple[int, str | None, bytes]:
    """Send `path` exactly as it is: other clients would resolve dots first."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers["Content-Type"], body


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/simple/six/", "text/html; charset=utf-8"),
        ("/simple/six/index.html?unused=query", "text/html; charset=utf-8"),
        ("/json/six", "application/json"),
        ("/pypi/six/json", "application/json"),
        ("/six-1.0-py3-none-any.whl", "application/zip"),
        ("/six-1.0-py3-none%2Dany.whl", "application/zip"),
    ],
)
def test_serves_a_file_with_its_type(root: Path, path: str, content_type: str) -> None:
    with StaticServer(root) as server:
        assert get(server, path)[:2] == (200, content_type)


def test_serves_the_bytes_of_the_file(root: Path) -> None:
    with StaticServer(root) as server:
        assert get(server, "/six-1.0-py3-none-any.whl")[2] == (root / "six-1.0-py3-none-any.whl").read_bytes()


def test_a_directory_without_its_slash_is_redirected_there(root: Path) -> None:
    with StaticServer(root) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "//simple/six")
        response = connection.getresponse()
        assert (response.status, response.headers["Location"]) == (301, "/simple/six/")
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/simple/../../secret.txt",
        "//../secret.txt",
        "/link.txt",
        "/linked/",
        "/loop",
        "/etc/passwd",
        "//etc/passwd",
        "/simple/",
        "/nothing",
        "/%00",
        "/%ff",
        "/" + "x" * 300,
    ],
)
def test_everything_else_is_not_found(root: Path, path: str) -> None:
    with StaticServer(root) as server:
        assert get(server, path)[0] == 404


def test_a_stopped_server_cuts_open_connections_and_comes_back_on_its_port(root: Path) -> None:
    server = StaticServer(root)
    server.start()
    port = server.port
    kept_open = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    kept_open.request("GET", "/json/six")
    kept_open.getresponse().read()

    server.stop()
    assert kept_open.sock.recv(1) == b""
    kept_open.close()
    with pytest.raises(ConnectionRefusedError):
        get(server, "/json/six")

    server.start()
    assert server.port == port
    assert get(server, "/json/six")[0] == 200
    server.stop()


def test_a_response_can_be_tampered_with(root: Path) -> None:
    with StaticServer(root) as server:
        server.tamper = lambda path, response: replace(response, body=b"other") if path == "/json/six" else response
        assert get(server, "/json/six")[2] == b"other"
        assert get(server, "/pypi/six/json")[2] == b"{}"
