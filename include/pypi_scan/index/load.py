"""From the CDN to the index: every scan's manifest and what lies beside it, the small datasets, the public key.

Publish a scan's manifest last: a scan without one is still on its way and left out.
"""

from collections.abc import Iterator

import minisign

from pypi_scan.datasets.layout import (
    AURA_DATASET,
    CHECKSUMS,
    DEPENDENCIES,
    DOWNLOAD_STATS,
    DOWNLOAD_STATS_ORIGIN,
    PACKAGE_LIST,
    PROJECT_STATUS,
    REVERSE_DEPENDENCIES,
)
from pypi_scan.index.model import INDEX_NAME, Index, IndexedScan, SmallDataset, describe_scan, make_index
from pypi_scan.index.objects import object_sizes
from pypi_scan.index.scan_files import AFTER_MANIFEST
from pypi_scan.manifest import MANIFEST, SCANS_PREFIX, ManifestError, parse_manifest
from pypi_scan.publish import Cdn, list_prefixes, read_object
from pypi_scan.torrent import TORRENT, TorrentError

LATEST_NAME = "latest"
PUBLIC_KEY = f"{SCANS_PREFIX}/{INDEX_NAME}/minisign.pub"

_SMALL_DATASETS_PREFIX = "aura/"
_SMALL_DATASETS = {
    PACKAGE_LIST: "every package name on PyPI",
    DEPENDENCIES: "what the latest release of each package requires",
    REVERSE_DEPENDENCIES: "the packages that require each package",
    DOWNLOAD_STATS: "downloads of each package in 30 days, the most first",
    DOWNLOAD_STATS_ORIGIN: "where these numbers come from, and of which days",
    PROJECT_STATUS: "the projects that are archived, deprecated or quarantined on PyPI",
    AURA_DATASET: "what aura update fetches",
    CHECKSUMS: "for md5sum -c",
}


class PublicKeyError(ValueError):
    """What is published as the public key is none; the message says where it lies and what to do."""


def published_scan_ids(cdn: Cdn) -> list[str]:
    """Return the ids under which anything of a scan is on the CDN, sorted; raises PublishError."""
    names = list_prefixes(cdn, f"{SCANS_PREFIX}/")
    return sorted(name for name in names if name not in (INDEX_NAME, LATEST_NAME))


def is_published(cdn: Cdn, scan_id: str) -> bool:
    """Whether a scan is public as a whole; raises PublishError."""
    return read_object(cdn, f"{SCANS_PREFIX}/{scan_id}/{MANIFEST}") is not None


def load_index(cdn: Cdn) -> Index:
    """Return the index of all scans on the CDN that have a manifest.

    Raises ManifestError, TorrentError or PublicKeyError, which name the object, for one that is not valid; PublishError
    if the CDN's origin cannot be read.
    """
    return make_index(cdn.public_url, _scans(cdn), _small_datasets(cdn), _public_key(cdn))


def _scans(cdn: Cdn) -> Iterator[IndexedScan]:
    for scan_id in published_scan_ids(cdn):
        prefix = f"{SCANS_PREFIX}/{scan_id}"
        contents = {name: read_object(cdn, f"{prefix}/{name}") for name in AFTER_MANIFEST}
        present = {name: content for name, content in contents.items() if content is not None}
        if MANIFEST not in present:
            continue
        try:
            manifest = parse_manifest(present[MANIFEST])
            if manifest.scan_id != scan_id:
                raise ManifestError(f"belongs to another scan, {manifest.scan_id}")
            yield describe_scan(manifest, cdn.public_url, present)
        except ManifestError as error:
            raise ManifestError(f"{cdn.url(f'{prefix}/{MANIFEST}')}: {error}") from error
        except TorrentError as error:
            raise TorrentError(f"{cdn.url(f'{prefix}/{TORRENT}')}: {error}") from error


def _small_datasets(cdn: Cdn) -> list[SmallDataset]:
    sizes = object_sizes(cdn, _SMALL_DATASETS_PREFIX)
    return [
        SmallDataset(name, sizes[name], cdn.url(_SMALL_DATASETS_PREFIX + name), about)
        for name, about in _SMALL_DATASETS.items()
        if name in sizes
    ]


def _public_key(cdn: Cdn) -> str | None:
    content = read_object(cdn, PUBLIC_KEY)
    if content is None:
        return None
    try:
        key: bytes = minisign.PublicKey.from_bytes(content).to_base64()
    except minisign.ParseError as error:
        raise PublicKeyError(f"{cdn.url(PUBLIC_KEY)}: not minisign's public key ({error}); publish it again") from error
    return key.decode("ascii")
