"""The index of all published scans: ``pypi_datasets/index/datasets.json`` and the same as a page, ``datasets.html``.

It is always built anew of the ``manifest.json`` of every scan on the CDN, so it can neither lose a scan nor list one
that is not there. Publish a scan's manifest last: a scan without one is still on its way and left out. A scan's torrent
is read too, for the magnet link; a scan that was published without one has none.
"""

import hashlib
import re
from datetime import UTC, datetime
from urllib.parse import quote

import jinja2
import msgspec

from pypi_scan.manifest import SCANS_PREFIX, Manifest
from pypi_scan.names import HostileInputError, check_sha256
from pypi_scan.plan import SCAN_ID
from pypi_scan.publish import Cdn, list_prefixes, publish_bytes, read_object
from pypi_scan.torrent import TORRENT, TorrentError, magnet_link

INDEX_NAME = "index"
MANIFEST_NAME = "manifest.json"

_FILE_NAME = re.compile(r"[^/\x00-\x1f\x7f]{1,255}")


class ManifestError(ValueError):
    """A scan's manifest is not what it should be; the message says what is wrong with it."""


class IndexedScanner(msgspec.Struct, frozen=True):
    """The program that scanned; `python` is the version it ran on."""

    name: str
    version: str
    python: str


class IndexedFile(msgspec.Struct, frozen=True):
    """A file of a scan; size in bytes."""

    name: str
    size: int
    sha256: str
    url: str


class IndexedScan(msgspec.Struct, frozen=True):
    """A published scan: `packages` were asked for, `scanned` have a record, `size` is that of all files in bytes."""

    scan_id: str
    as_of: datetime
    packages: int
    scanned: int
    by_status: dict[str, int]
    size: int
    url: str
    mirror_serial: int
    scanner: IndexedScanner
    magnet: str | None
    files: list[IndexedFile]


class Index(msgspec.Struct, frozen=True):
    """``datasets.json``: the scans, the newest `as_of` first."""

    scans: tuple[IndexedScan, ...] = ()


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest in `content`, fit to be shown and linked to; raises ManifestError."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
        for file in manifest.files:
            check_sha256(file.sha256)
    except (msgspec.MsgspecError, UnicodeDecodeError, HostileInputError) as error:
        raise ManifestError(f"not a manifest of a scan: {error}") from error
    if not SCAN_ID.fullmatch(manifest.scan_id):
        raise ManifestError(f"not a scan id (2026-11-01 or 2026-11-01-2): {manifest.scan_id!r:.80}")
    _instant(manifest.as_of)
    for file in manifest.files:
        if not _FILE_NAME.fullmatch(file.name) or file.name in (".", ".."):
            raise ManifestError(f"not a file name: {file.name!r:.80}")
    numbers = [manifest.mirror_serial, manifest.counts.input, manifest.counts.records]
    if min(*numbers, *manifest.counts.by_status.values(), *(file.size for file in manifest.files)) < 0:
        raise ManifestError("a count or size is negative")
    return manifest


def published_scan_ids(cdn: Cdn) -> list[str]:
    """Return the ids under which anything of a scan is on the CDN, sorted; raises PublishError."""
    return sorted(name for name in list_prefixes(cdn, f"{SCANS_PREFIX}/") if name != INDEX_NAME)


def load_index(cdn: Cdn) -> Index:
    """Return the index of all scans on the CDN that have a manifest.

    Raises ManifestError or TorrentError, which name the object, for one that is not valid; PublishError if the CDN's
    origin cannot be read.
    """
    index = Index()
    for scan_id in published_scan_ids(cdn):
        prefix = f"{SCANS_PREFIX}/{scan_id}"
        key = f"{prefix}/{MANIFEST_NAME}"
        content = read_object(cdn, key)
        if content is None:
            continue
        try:
            manifest = parse_manifest(content)
        except ManifestError as error:
            raise ManifestError(f"{cdn.url(key)}: {error}") from error
        if manifest.scan_id != scan_id:
            raise ManifestError(f"{cdn.url(key)}: belongs to another scan, {manifest.scan_id}")
        torrent = read_object(cdn, f"{prefix}/{TORRENT}")
        try:
            index = add_scan(index, manifest, cdn.public_url, torrent)
        except TorrentError as error:
            raise TorrentError(f"{cdn.url(f'{prefix}/{TORRENT}')}: {error}") from error
    return index


def add_scan(index: Index, manifest: Manifest, public_url: str, torrent: bytes | None = None) -> Index:
    """Return `index` with this scan, in place of an entry with the same scan id; raises TorrentError."""
    url = f"{public_url}/{SCANS_PREFIX}/{quote(manifest.scan_id)}/"
    files = [(file.name, file.size, file.sha256) for file in manifest.files]
    if torrent is not None:
        files.append((TORRENT, len(torrent), hashlib.sha256(torrent).hexdigest()))
    scan = IndexedScan(
        scan_id=manifest.scan_id,
        as_of=_instant(manifest.as_of),
        packages=manifest.counts.input,
        scanned=manifest.counts.records,
        by_status=dict(sorted(manifest.counts.by_status.items())),
        size=sum(size for _, size, _ in files),
        url=url,
        mirror_serial=manifest.mirror_serial,
        scanner=IndexedScanner(manifest.scanner.scanner, manifest.scanner.version, manifest.scanner.python),
        magnet=None if torrent is None else magnet_link(torrent, manifest.scan_id),
        files=[IndexedFile(name, size, sha256, url + quote(name)) for name, size, sha256 in files],
    )
    others = [other for other in index.scans if other.scan_id != scan.scan_id]
    return Index(scans=tuple(sorted([scan, *others], key=lambda each: (each.as_of, each.scan_id), reverse=True)))


def render_json(index: Index) -> bytes:
    """Return ``datasets.json``: two spaces of indentation, times in UTC."""
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"


def render_html(index: Index) -> bytes:
    """Return ``datasets.html``: one page that needs neither scripts nor anything from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pypi_scan", package_path="."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("datasets.html.j2").render(scans=index.scans, manifest=MANIFEST_NAME).encode()


def write_index(cdn: Cdn, index: Index) -> None:
    """Publish both forms of the index; raises PublishError."""
    publish_bytes(cdn, f"{SCANS_PREFIX}/{INDEX_NAME}/datasets.json", render_json(index))
    publish_bytes(cdn, f"{SCANS_PREFIX}/{INDEX_NAME}/datasets.html", render_html(index))


def _instant(as_of: str) -> datetime:
    """Return an ISO 8601 time with offset as a time in UTC; raises ManifestError."""
    try:
        instant = datetime.fromisoformat(as_of)
        if instant.tzinfo is None:
            raise ValueError("no UTC offset")
        return instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ManifestError(f"as_of is not a time with UTC offset: {as_of!r:.80} ({error})") from error
