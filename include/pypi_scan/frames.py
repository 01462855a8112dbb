"""The zstd frames of a file, and those of records, byte for byte as workers make them (include/scripts/records.py)."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import zstandard

FRAME_BYTES = 8 * 1024 * 1024  # of lines, after which a frame ends
MAX_WINDOW_BYTES = 2**27  # what every zstd reader accepts without being asked to
_LEVEL = 17


class FrameError(ValueError):
    """A file does not hold whole zstd frames of the size they may have."""


def compressed_frame(lines: Iterable[bytes]) -> bytes:
    """Return a frame of `lines`, which come without their ends."""
    content = b"".join(line + b"\n" for line in lines)
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True, write_checksum=True).compress(content)


def cut_into_frames(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the frames of the lines of a block, which come without their ends."""
    frame, size = [], 0
    for line in lines:
        frame.append(line)
        size += len(line) + 1
        if size >= FRAME_BYTES:
            yield compressed_frame(frame)
            frame, size = [], 0
    if frame:
        yield compressed_frame(frame)


def decompressed(file: BinaryIO, step: int, limit: float) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, length and content of each frame of a file, of which `step` bytes are read at a time.

    Raises FrameError for a damaged frame and one of over `limit` bytes, of which not many more are ever in memory:
    what `step` bytes decompress to.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    frame, offset, content, size = None, 0, [], 0
    while data := file.read(step):
        while data:
            frame = frame or decompressor.decompressobj()
            try:
                content.append(frame.decompress(data))
            except zstandard.ZstdError as error:
                raise FrameError(f"damaged: {error}") from None
            size += len(content[-1])
            if size > limit:
                raise FrameError(f"a frame of over {limit} bytes")
            data = frame.unused_data if frame.eof else b""
            if frame.eof:
                end = file.tell() - len(data)
                yield offset, end - offset, b"".join(content)
                frame, offset, content, size = None, end, [], 0
    if frame:
        raise FrameError("damaged: it ends within a frame")
