"""``dataset.torrent``: a packed scan for BitTorrent clients, with the CDN as the web seed that never leaves.

A version 1 torrent (BEP 3), as aria2, Transmission and libtorrent all read; hybrid and version 2 ones (BEP 52) fail in
the first two. The web seed (BEP 19) ends in a slash, so a client asks for ``<web seed><torrent's name>/<file>``. There
is no tracker, creation date or client name in it: the same files give the same bytes.
"""

import hashlib
from collections.abc import Iterable

import libtorrent

TORRENT = "dataset.torrent"

_SMALLEST_PIECE = 1 << 16
_LARGEST_PIECE = 1 << 24  # some clients take no larger ones
_MOST_PIECES = 2048  # 20 bytes of the torrent each


class TorrentError(ValueError):
    """Not a torrent of a scan; the message says what is wrong with it."""


def piece_size(total: int) -> int:
    """Return the piece size for `total` bytes, both in bytes: 64 KiB up to 128 MiB, 8 MiB for 10 GB."""
    size = _SMALLEST_PIECE
    while size < _LARGEST_PIECE and size * _MOST_PIECES < total:
        size *= 2
    return size


class PieceHasher:
    """The SHA-1 of each piece of a torrent, whose pieces run on from one file into the next."""

    def __init__(self, piece_size: int) -> None:
        self.piece_size = piece_size
        self._finished: list[bytes] = []
        self._start_piece()

    def _start_piece(self) -> None:
        self._piece = hashlib.sha1(usedforsecurity=False)
        self._missing = self.piece_size

    def update(self, block: bytes) -> None:
        """Add the next bytes of the files."""
        rest = memoryview(block)
        while rest:
            part, rest = rest[: self._missing], rest[self._missing :]
            self._piece.update(part)
            self._missing -= len(part)
            if not self._missing:
                self._finished.append(self._piece.digest())
                self._start_piece()

    def digests(self) -> list[bytes]:
        """Return the digests of the pieces so far; the last piece may be a short one."""
        return self._finished + ([self._piece.digest()] if self._missing < self.piece_size else [])


def make_torrent(name: str, files: Iterable[tuple[str, int]], pieces: PieceHasher, web_seed: str) -> bytes:
    """Return the torrent of a directory `name` with these files: their names and sizes in bytes, as they were hashed.

    `web_seed` is the URL of the directory that `name` lies in, with a trailing slash.
    """
    entries = [libtorrent.create_file_entry(f"{name}/{file}", size) for file, size in files]
    torrent = libtorrent.create_torrent(entries, pieces.piece_size, libtorrent.create_torrent.v1_only)
    for number, digest in enumerate(pieces.digests()):
        torrent.set_hash(number, digest)
    torrent.set_creation_date(0)  # left out; by default it is the time of day
    torrent.add_url_seed(web_seed)
    return libtorrent.bencode(torrent.generate())


def magnet_link(torrent: bytes, name: str) -> str:
    """Return the magnet link of a torrent of this name, with its web seeds; raises TorrentError if it is none."""
    try:
        info = libtorrent.torrent_info(torrent)
    except RuntimeError as error:
        raise TorrentError(f"not a torrent: {error}") from error
    if info.name() != name:
        raise TorrentError(f"is a torrent of something else, {info.name()!r:.80}")
    return libtorrent.make_magnet_uri(info)
