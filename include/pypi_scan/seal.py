"""Sealing a dataset directory: what vouches for its files.

Each of them is written after what it vouches for, so nothing vouches for itself: the manifest for what was packed, its
signature for the manifest, ``checksums.sha256.txt`` for all that, ``checksums.md5.txt`` also for the former, and last
``dataset.torrent``, which holds all of them: who downloads by it gets a directory that ``sha256sum -c`` can check.
"""

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pypi_scan.files import atomic_write, atomic_write_text
from pypi_scan.manifest import MANIFEST, SCANS_PREFIX, ChangeCounts, Counts, Manifest, ManifestFile
from pypi_scan.plan import Plan
from pypi_scan.results import Scanner
from pypi_scan.signing import SigningKey, sign_file
from pypi_scan.torrent import TORRENT, PieceHasher, make_torrent, piece_size

SHA256_CHECKSUMS = "checksums.sha256.txt"
MD5_CHECKSUMS = "checksums.md5.txt"

_VERSIONS = ("global-pypi-scan", "apache-airflow", "bandersnatch", "duckdb", "libtorrent", "zstandard")


def seal(
    dataset: Path,
    plan: Plan,
    scanner: Scanner,
    counts: Counts,
    changes: ChangeCounts | None,
    cdn_public_url: str,
    key: SigningKey | None,
) -> Manifest:
    """Write manifest, signature, checksums and torrent of the files in `dataset`; return the manifest.

    Every file is read once, for its digests and the pieces of the torrent.
    """
    contents = sorted(dataset.iterdir())
    pieces = PieceHasher(piece_size(sum(path.stat().st_size for path in contents)))
    files = [_digests(path, pieces) for path in contents]
    manifest = Manifest(
        scan_id=plan.scan_id,
        as_of=plan.as_of,
        mirror_serial=plan.mirror_serial,
        scanner=scanner,
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _VERSIONS},
        },
        counts=counts,
        files=files,
        changes=changes,
        partial=plan.partial,
    )
    atomic_write_text(dataset / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)).decode() + "\n")
    files = [*files, _digests(dataset / MANIFEST, pieces)]
    if key:
        signature = sign_file(dataset / MANIFEST, key, f"scan {plan.scan_id} as of {plan.as_of}")
        files.append(_digests(signature, pieces))
    for algorithm, name in (("sha256", SHA256_CHECKSUMS), ("md5", MD5_CHECKSUMS)):
        _write_checksums(files, algorithm, dataset / name)
        files.append(_digests(dataset / name, pieces))
    web_seed = f"{cdn_public_url.rstrip('/')}/{SCANS_PREFIX}/"
    with atomic_write(dataset / TORRENT) as torrent:
        torrent.write(make_torrent(plan.scan_id, [(file.name, file.size) for file in files], pieces, web_seed))
    return manifest


def _digests(path: Path, pieces: PieceHasher) -> ManifestFile:
    """Read a file once, for its digests and for the pieces of the torrent, which it is the next file of."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
            pieces.update(block)
        size = file.tell()
    return ManifestFile(path.name, size, sha256.hexdigest(), md5.hexdigest())


def _write_checksums(files: Iterable[ManifestFile], algorithm: str, target: Path) -> None:
    """Write the digests of these files, by name, in the format of ``md5sum -c`` and ``sha256sum -c``."""
    digests = sorted((file.name, getattr(file, algorithm)) for file in files)
    atomic_write_text(target, "".join(f"{digest}  {name}\n" for name, digest in digests))
