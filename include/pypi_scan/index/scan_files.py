"""What the files of a scan are, by name: the words that the page, the card and the descriptions show beside them."""

from pypi_scan.changes import CHANGES, CHANGES_PAGE
from pypi_scan.dataset_index import DATASET, INDEX
from pypi_scan.editions.columns import DETECTION_COLUMNS, DETECTIONS, PACKAGE_COLUMNS, PACKAGES
from pypi_scan.editions.sqlite import SQLITE
from pypi_scan.manifest import MANIFEST, SIGNATURE
from pypi_scan.pack import README, REJECTED_RECORDS
from pypi_scan.record import SCHEMA
from pypi_scan.seal import MD5_CHECKSUMS, SHA256_CHECKSUMS
from pypi_scan.torrent import TORRENT

# The same findings, each for other tools.
EDITIONS = (DATASET, SQLITE, PACKAGES, DETECTIONS)

# Files that lie beside the manifest and are written after the list of files in it was made.
AFTER_MANIFEST = (MANIFEST, SIGNATURE, SHA256_CHECKSUMS, MD5_CHECKSUMS, TORRENT)

ABOUT = {
    DATASET: "JSON lines: everything Aura found, a record a package",
    SQLITE: "SQLite: scans, detections and tags as tables",
    PACKAGES: "Parquet: a row a package that was asked for",
    DETECTIONS: "Parquet: a row a detection",
    INDEX: "where in dataset.zst each package lies, for range requests",
    "packages.jsonl.zst": "a status line a package, with the reason where there is no record",
    "input_packages.txt": "the packages the scan was asked for",
    "package_list.txt": "the packages that have a record",
    CHANGES: "a line a package that differs from the previous scan",
    CHANGES_PAGE: "the same changes, to read",
    REJECTED_RECORDS: "packages whose record does not conform to the schema, with the reason",
    SCHEMA: "the JSON Schema of a record",
    "joblog.txt": "a row a package tried, in GNU parallel's joblog format",
    README: "what this is, how to read it, licence, citation",
    MANIFEST: "provenance: mirror serial, scanner, settings, counts, digests",
    SIGNATURE: "minisign's signature of the manifest",
    SHA256_CHECKSUMS: "for sha256sum -c",
    MD5_CHECKSUMS: "for md5sum -c",
    TORRENT: "every other file for BitTorrent clients",
}


TABLES = {PACKAGES: PACKAGE_COLUMNS, DETECTIONS: DETECTION_COLUMNS}


def about(name: str) -> str:
    """Return in a few words what the file of this name is, an empty string for one not known here."""
    return ABOUT.get(name, "")
