"""A TCP proxy on loopback that can be a network in trouble."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from demo.processes import free_port

_BLOCK = 1 << 16
INTERNAL_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class TcpProxy:
    """Forwards connections to `target`, a port of 127.0.0.1, while used as a context manager.

    `answer`, if set, is what a new connection is answered with instead, once its request is there; it is then closed.
    `rate` is the bytes a second of each direction of a connection. A connection that has sent `cut_after` bytes to the
    target is cut; `cuts` counts these.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.answer: bytes | None = None
        self.rate: int | None = None
        self.cut_after: int | None = None
        self.cuts = 0
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def swallow(self) -> None:
        """Forward nothing any more, and say nothing of it: a cable that was pulled."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def restore(self) -> None:
        """Forward everything again."""
        self.answer = self.rate = self.cut_after = None
        self._loop.call_soon_threadsafe(self._open.set)

    def reset(self) -> None:
        """End every connection at once."""
        self._loop.call_soon_threadsafe(self._abort)

    @contextmanager
    def running(self) -> Iterator["TcpProxy"]:
        """Listen, in the background."""
        thread = Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = {writer}
        self._writers.add(writer)
        try:
            await self._open.wait()
            if self.answer is not None:
                if self.answer:
                    await reader.readuntil(b"\r\n\r\n")
                writer.write(self.answer)
                await writer.drain()
                return
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writers.add(target_writer)
            self._writers.add(target_writer)
            ways = [
                asyncio.ensure_future(self._forward(reader, target_writer, upload=True)),
                asyncio.ensure_future(self._forward(target_reader, writer, upload=False)),
            ]
            _, waiting = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in waiting:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side is gone: so is the connection
        finally:
            self._writers -= writers
            for one in writers:
                with contextlib.suppress(OSError):
                    one.close()

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, upload: bool) -> None:
        forwarded = 0
        while block := await source.read(_BLOCK):
            await self._open.wait()
            forwarded += len(block)
            if upload and self.cut_after is not None and forwarded > self.cut_after:
                self.cuts += 1
                target.write(block[: len(block) // 2])
                await target.drain()
                return
            target.write(block)
            await target.drain()
            if self.rate:
                await asyncio.sleep(len(block) / self.rate)

    def _abort(self) -> None:
        for writer in [writer for writer in self._writers if not writer.is_closing()]:
            # Without lingering, closing is a reset and not an orderly end.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        self._abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
