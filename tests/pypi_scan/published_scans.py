"""Scans as they lie on the CDN, small: manifests, torrents, and whole directories in an object store."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pypi_scan.index.model import Index, IndexedScan, describe_scan, make_index
from pypi_scan.manifest import parse_manifest
from pypi_scan.publish import Cdn, publish_bytes
from pypi_scan.torrent import PieceHasher, make_torrent

PUBLIC_URL = "https://cdn.example"
CHANGES = {"since": "2026-10-01", "new": 1200, "gone": 3, "version": 40, "detections": 5}


def manifest(scan_id: str = "2026-11-01", **changes: Any) -> bytes:
    document = {
        "scan_id": scan_id,
        "as_of": f"{scan_id[:10]}T00:00:00Z",
        "mirror_serial": 123,
        "scanner": {"scanner": "aura-security", "version": "2.1", "python": "3.11.7", "settings": {"seconds": 60}},
        "versions": {"global-pypi-scan": "0.1.0"},
        "counts": {"input": 1040, "records": 1035, "by_status": {"ok": 1034, "no_release": 5, "crash": 1}},
        "files": [
            {"name": "dataset.zst", "size": 2_000_000, "sha256": "a" * 64, "md5": "b" * 32},
            {"name": "joblog.txt", "size": 500, "sha256": "c" * 64, "md5": "d" * 32},
        ],
    }
    return json.dumps(document | changes).encode()


def torrent(name: str = "2026-11-01", web_seed: str = f"{PUBLIC_URL}/pypi_datasets/") -> bytes:
    pieces = PieceHasher(1 << 16)
    pieces.update(b"content")
    return make_torrent(name, [("dataset.zst", 6), ("joblog.txt", 1)], pieces, web_seed)


def listed(contents: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """These files as a manifest lists them."""
    return [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "md5": ""}
        for name, content in contents.items()
    ]


def described(scan_id: str = "2026-11-01", **changes: Any) -> IndexedScan:
    """The entry of a scan that is nothing but what its manifest lists, and the manifest."""
    content = manifest(scan_id, **changes)
    return describe_scan(parse_manifest(content), PUBLIC_URL, {"manifest.json": content})


def index_of(*scans: IndexedScan) -> Index:
    return make_index(PUBLIC_URL, scans)


def publish_scan(cdn: Cdn, scan_id: str, contents: Mapping[str, bytes], **changes: Any) -> None:
    """Put a whole scan on the CDN: these files, a torrent, checksums, a signature, and last the manifest."""
    objects = {
        **contents,
        "dataset.torrent": torrent(scan_id),
        "checksums.sha256.txt": f"sha256 of {scan_id}\n".encode(),
        "checksums.md5.txt": f"md5 of {scan_id}\n".encode(),
        "manifest.json.minisig": f"signature of {scan_id}\n".encode(),
        "manifest.json": manifest(scan_id, files=listed(contents), **changes),
    }
    for name, content in objects.items():
        publish_bytes(cdn, f"pypi_datasets/{scan_id}/{name}", content)
