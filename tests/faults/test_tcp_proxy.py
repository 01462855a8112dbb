"""The proxy is the network that it is told to be."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from .tcp_proxy import INTERNAL_ERROR, TcpProxy


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    """A proxy before a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                Thread(target=_echo, args=(connection,), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        with TcpProxy(server.getsockname()[1]).running() as proxy:
            yield proxy


def _echo(connection: socket.socket) -> None:
    with connection, suppress(ConnectionResetError):
        while block := connection.recv(1 << 16):
            connection.sendall(block)


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5)


def test_what_is_swallowed_arrives_once_the_network_is_back(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        proxy.swallow()
        client.sendall(b"after")
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.restore()
        assert client.recv(100) == b"after"


def test_an_upload_is_cut_in_its_middle(proxy: TcpProxy) -> None:
    proxy.cut_after = 10
    with connect(proxy) as client:
        client.sendall(b"a" * 20)
        received = b""
        while block := client.recv(100):
            received += block
    assert len(received) <= 10
    assert proxy.cuts == 1


def test_a_request_is_answered_in_place_of_the_server(proxy: TcpProxy) -> None:
    proxy.answer = INTERNAL_ERROR
    with connect(proxy) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(1000) == INTERNAL_ERROR


def test_connections_are_reset(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
