"""What the files of a scan are, by name: the words that the page, the card and the descriptions show beside them."""

from dataclasses import dataclass

from pypi_scan.pack import MANIFEST, MD5_CHECKSUMS, README, SHA256_CHECKSUMS
from pypi_scan.torrent import TORRENT

SIGNATURE = f"{MANIFEST}.minisig"
CHANGES_PAGE = "changes.html"
PACKAGES_TABLE = "packages.parquet"
DETECTIONS_TABLE = "detections.parquet"

# The same findings, each for other tools.
EDITIONS = ("dataset.zst", "dataset.sqlite.zst", PACKAGES_TABLE, DETECTIONS_TABLE)

# Files that lie beside the manifest and are written after the list of files in it was made.
AFTER_MANIFEST = (MANIFEST, SIGNATURE, SHA256_CHECKSUMS, MD5_CHECKSUMS, TORRENT)

_ABOUT = {
    "dataset.zst": "JSON lines: everything Aura found, a record a package",
    "dataset.sqlite.zst": "SQLite: scans, detections and tags as tables",
    PACKAGES_TABLE: "Parquet: a row a package that was asked for",
    DETECTIONS_TABLE: "Parquet: a row a detection",
    "dataset.index.json": "where in dataset.zst each package lies, for range requests",
    "packages.jsonl.zst": "a status line a package, with the reason where there is no record",
    "input_packages.txt": "the packages the scan was asked for",
    "package_list.txt": "the packages that have a record",
    "changes.jsonl.zst": "a line a package that differs from the previous scan",
    CHANGES_PAGE: "the same changes, to read",
    "rejected.jsonl.zst": "records that do not conform to the schema, with the reason",
    "joblog.txt": "a row a package tried, in GNU parallel's joblog format",
    README: "what this is, how to read it, licence, citation",
    MANIFEST: "provenance: mirror serial, scanner, settings, counts, digests",
    SIGNATURE: "minisign's signature of the manifest",
    SHA256_CHECKSUMS: "for sha256sum -c",
    MD5_CHECKSUMS: "for md5sum -c",
    TORRENT: "every other file for BitTorrent clients",
}


@dataclass(frozen=True)
class Column:
    """A column of a Parquet edition; `type` is text, integer, number, or texts for a list of text."""

    name: str
    type: str
    about: str


TABLES = {
    PACKAGES_TABLE: (
        Column("package", "text", "canonical name"),
        Column("version", "text", "the version scanned"),
        Column("status", "text", "ok, or why there is no complete record"),
        Column("reason", "text", "the status in a sentence, where it is not ok"),
        Column("score", "integer", "sum of the detections' scores"),
        Column("detections", "integer", "number of detections"),
        Column("seconds", "number", "how long the scan of the package took"),
        Column("cpu_seconds", "number", "processor time of it"),
        Column("peak_memory_bytes", "integer", "most memory it held"),
        Column("bytes", "integer", "size of the distribution files, as downloaded"),
        Column("files", "integer", "number of distribution files"),
        Column("frame_offset", "integer", "where in dataset.zst the frame with its record begins"),
        Column("frame_length", "integer", "length of that frame in bytes"),
    ),
    DETECTIONS_TABLE: (
        Column("package", "text", "canonical name"),
        Column("version", "text", "the version scanned"),
        Column("type", "text", "kind of detection"),
        Column("severity", "text", "Aura's grade of it"),
        Column("score", "integer", "what it adds to the package's score"),
        Column("message", "text", "what was found, in a sentence"),
        Column("location", "text", "the file it was found in"),
        Column("line_no", "integer", "line of that file"),
        Column("line", "text", "that line, as the package's author wrote it"),
        Column("signature", "text", "Aura's name of the finding"),
        Column("fingerprint", "text", "the same for the same finding in another version"),
        Column("tags", "texts", "Aura's tags"),
        Column("extra", "text", "what else belongs to a detection of this type, as JSON"),
    ),
}


def about(name: str) -> str:
    """Return in a few words what the file of this name is, an empty string for one not known here."""
    return _ABOUT.get(name, "")
