"""Archives as nobody makes them by accident: broken, lying about their size, or aimed at whoever unpacks them."""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable

Members = Iterable[tuple[str, bytes]]


def zip_of(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive with these members, of which several may have one name."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # Duplicate name
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def tar_of(members: Iterable[tarfile.TarInfo | tuple[str, bytes]], mode: str = "gz") -> bytes:
    """Return a tar archive, compressed as `mode` says, with these members: whole ones, or a name and content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Return a tar member that is no file: ``tarfile.SYMTYPE``, ``CHRTYPE``, ``FIFOTYPE`` and so on."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.devmajor, info.devminor = kind, target, 1, 3
    return info


def damaged(archive: bytes, content: bytes) -> bytes:
    """Return a zip archive with one byte of `content`, which is in it uncompressed, changed: its CRC is wrong."""
    assert archive.count(content) == 1
    return archive.replace(content, content[:-1] + bytes([content[-1] ^ 1]))


def encrypted(archive: bytes) -> bytes:
    """Return a zip archive whose first member says that it is encrypted."""
    data = bytearray(archive)
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(header) + flags] |= 1
    return bytes(data)


def packed_as(archive: bytes, method: int) -> bytes:
    """Return a zip archive whose first member says that it is compressed with another method."""
    data = bytearray(archive)
    for header, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        struct.pack_into("<H", data, data.index(header) + place, method)
    return bytes(data)


def empty_by_its_directory(archive: bytes) -> bytes:
    """Return a zip archive whose directory says that the first member has no content; it has."""
    data = bytearray(archive)
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 0)
    return bytes(data)


def zeros(size: int) -> bytes:
    """Return `size` zero bytes (a multiple of 1 MiB), as a raw deflate stream; takes no time."""
    assert size % 2**20 == 0
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return once * (size // 2**20) + b"\x03\x00"


def zip_bomb(name: str, size: int) -> bytes:
    """Return a zip archive with one member of `size` zero bytes, its CRC wrong."""
    stream, encoded = zeros(size), name.encode()
    sizes = struct.pack("<QQ", size, len(stream))
    extra = struct.pack("<HH", 1, len(sizes)) + sizes  # ZIP64
    common = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 33, 0, 2**32 - 1, 2**32 - 1, len(encoded), len(extra))
    local = b"PK\3\4" + common + encoded + extra
    central = b"PK\1\2" + struct.pack("<H", 45) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + encoded + extra
    place = len(local) + len(stream)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), place, 0)
    return local + stream + central + end


def tar_bomb(name: str, size: int) -> bytes:
    """Return a .tar.gz archive with a member of `size` zero bytes, and one more after it."""
    info = tarfile.TarInfo(name)
    info.size = size
    header = info.tobuf(tarfile.GNU_FORMAT)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = compressor.compress(header) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(tar_of([("after.py", b"import os\n")], "")) + rest.flush()
    return gzip.compress(b"")[:10] + start + zeros(size)[:-2] + end + bytes(8)


def negative_size(archive: bytes, place: int) -> bytes:
    """Return a plain tar archive whose member with the header at `place` has -512 bytes: it is its own next one."""
    data = bytearray(archive)
    header = data[place : place + tarfile.BLOCKSIZE]
    header[124:136] = (-tarfile.BLOCKSIZE).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[place : place + tarfile.BLOCKSIZE] = header
    return bytes(data)


def chained_headers(archive: bytes, count: int) -> bytes:
    """Return a plain tar archive whose first member has `count` extended headers, each inside of the one before."""
    return special("x", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT) * count + archive


def with_directories(archive: bytes, count: int) -> bytes:
    """Return a zip archive that lists `count` directories more."""
    end = archive.index(b"PK\5\6")
    start = archive.index(b"PK\1\2")
    names = (b"d%06d/" % number for number in range(count))
    fixed = b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    central = archive[start:end] + b"".join(fixed + name for name in names)
    return archive[:start] + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 9, 9, len(central), start, 0)


def endless() -> bytes:
    """Return a wheel that takes minutes to scan, however fast: Aura reads a file anew for every line of RECORD."""
    record = b"zeros.bin,sha256=x\n" * 20_000
    return zip_of([("x-1.0.dist-info/WHEEL", b""), ("x-1.0.dist-info/RECORD", record), ("zeros.bin", bytes(2**24))])
