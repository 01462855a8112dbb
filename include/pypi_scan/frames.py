"""The zstd frames that records are compressed in, byte for byte as workers make them (include/scripts/records.py)."""

from collections.abc import Iterable, Iterator

import zstandard

FRAME_BYTES = 8 * 1024 * 1024  # of lines, after which a frame ends
_LEVEL = 17


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
