"""``datasets.json``: the index as data. The page and the feed show what is in it and nothing else."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import quote

import msgspec

from pypi_scan.changes import CHANGES_PAGE
from pypi_scan.index.scan_files import EDITIONS, about
from pypi_scan.manifest import MANIFEST, SCANS_PREFIX, SIGNATURE, ChangeCounts, Manifest, as_of_instant
from pypi_scan.torrent import TORRENT, magnet_link

INDEX_NAME = "index"


class IndexedScanner(msgspec.Struct, frozen=True):
    """The program that scanned; `python` is the version it ran on."""

    name: str
    version: str
    python: str


class IndexedFile(msgspec.Struct, frozen=True):
    """A file of a scan: size in bytes, and in a few words what it is (empty where the name does not tell)."""

    name: str
    size: int
    sha256: str
    url: str
    about: str


class IndexedScan(msgspec.Struct, frozen=True):
    """A published scan: `packages` were asked for, `scanned` have a record, `size` is that of all files in bytes.

    `partial`: it was asked for some packages only. `editions` are the names of the files that hold its findings, each
    for other tools. `changes` counts the packages that differ from the scan before it. `changes_page`, `manifest` and
    `signature` (minisign's, of the manifest) are URLs. What a scan was published without is null.
    """

    scan_id: str
    as_of: datetime
    partial: bool
    packages: int
    scanned: int
    by_status: dict[str, int]
    size: int
    url: str
    mirror_serial: int
    scanner: IndexedScanner
    editions: list[str]
    changes: ChangeCounts | None
    changes_page: str | None
    manifest: str
    signature: str | None
    magnet: str | None
    files: list[IndexedFile]

    def file(self, name: str) -> IndexedFile | None:
        """Return the file of this name, None if the scan has none."""
        return next((file for file in self.files if file.name == name), None)


class SmallDataset(msgspec.Struct, frozen=True):
    """A file that is made anew within the hour after PyPI changed; `size` is that in bytes when the index was written.

    Its current MD5 is in ``md5_checksums.txt`` beside it.
    """

    name: str
    size: int
    url: str
    about: str


class Index(msgspec.Struct, frozen=True):
    """Everything that is published: the scans, the newest `as_of` first, and the small datasets.

    `url` is that of the index itself, with a trailing slash. `latest` is the scan id of the newest full scan, null
    where there is none. `public_key` is the one line of minisign's key that checks signatures, null where the scans
    are not signed.
    """

    url: str
    latest: str | None
    public_key: str | None
    scans: list[IndexedScan]
    small_datasets: list[SmallDataset]

    def latest_scan(self) -> IndexedScan | None:
        """Return the newest full scan."""
        return next((scan for scan in self.scans if scan.scan_id == self.latest), None)


def make_index(
    public_url: str,
    scans: Iterable[IndexedScan],
    small_datasets: Iterable[SmallDataset] = (),
    public_key: str | None = None,
) -> Index:
    """Return the index of what is published below `public_url` (no trailing slash), whatever order it comes in."""
    in_order = sorted(scans, key=_age, reverse=True)
    return Index(
        url=f"{public_url}/{SCANS_PREFIX}/{INDEX_NAME}/",
        latest=next((scan.scan_id for scan in in_order if not scan.partial), None),
        public_key=public_key,
        scans=in_order,
        small_datasets=sorted(small_datasets, key=lambda dataset: dataset.name),
    )


def _age(scan: IndexedScan) -> tuple[datetime, list[int]]:
    return scan.as_of, [int(number) for number in scan.scan_id.split("-")]


def describe_scan(manifest: Manifest, public_url: str, after_manifest: Mapping[str, bytes]) -> IndexedScan:
    """Return the entry of a scan.

    `after_manifest` holds the contents of the files beside the manifest that it cannot list, itself among them. Raises
    ManifestError or TorrentError for what cannot be shown.
    """
    url = f"{public_url}/{SCANS_PREFIX}/{quote(manifest.scan_id)}/"
    digests = {file.name: (file.size, file.sha256) for file in manifest.files}
    for name, content in after_manifest.items():
        digests[name] = len(content), hashlib.sha256(content).hexdigest()
    torrent = after_manifest.get(TORRENT)
    return IndexedScan(
        scan_id=manifest.scan_id,
        as_of=as_of_instant(manifest),
        partial=manifest.partial,
        packages=manifest.counts.input,
        scanned=manifest.counts.records,
        by_status=dict(sorted(manifest.counts.by_status.items())),
        size=sum(size for size, _ in digests.values()),
        url=url,
        mirror_serial=manifest.mirror_serial,
        scanner=IndexedScanner(manifest.scanner.scanner, manifest.scanner.version, manifest.scanner.python),
        editions=[name for name in EDITIONS if name in digests],
        changes=manifest.changes,
        changes_page=url + CHANGES_PAGE if CHANGES_PAGE in digests else None,
        manifest=url + MANIFEST,
        signature=url + SIGNATURE if SIGNATURE in digests else None,
        magnet=None if torrent is None else magnet_link(torrent, manifest.scan_id),
        files=[
            IndexedFile(name, size, sha256, url + quote(name), about(name))
            for name, (size, sha256) in sorted(digests.items())
        ],
    )


def render_json(index: Index) -> bytes:
    """Return ``datasets.json``: two spaces of indentation, times in UTC."""
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"
