"""``croissant.json``: a scan for tools that load datasets, in MLCommons' format Croissant 1.0 (JSON-LD).

The format is described at https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html, which also prescribes the
context: it is the file ``croissant_context.json``, as it stands there.
"""

import importlib.resources
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import msgspec

from pypi_scan.editions.columns import Column
from pypi_scan.index.model import IndexedScan
from pypi_scan.index.scan_files import TABLES

# By this one, and by no other, the format's own reader knows Parquet.
_FORMATS = {
    ".html": "text/html",
    ".json": "application/json",
    ".parquet": "application/x-parquet",
    ".torrent": "application/x-bittorrent",
    ".zst": "application/zstd",
}
_OTHER_FORMAT = "text/plain"

_DATA_TYPES = {"text": "sc:Text", "texts": "sc:Text", "integer": "sc:Integer", "number": "sc:Float"}


def render_croissant(scan: IndexedScan, index_url: str) -> bytes:
    """Return the description of the scan's files, and of the columns of its Parquet editions.

    `index_url` is that of the index, with a trailing slash.
    """
    context = importlib.resources.files("pypi_scan.index").joinpath("croissant_context.json").read_bytes()
    document = {
        "@context": msgspec.json.decode(context),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "global-pypi-scan",
        "description": "What the code on PyPI does: the latest release of every package, scanned with Aura.",
        "url": f"{index_url}datasets.html",
        "version": f"{scan.as_of.year}.{scan.as_of.month}.{scan.as_of.day}",
        "datePublished": f"{scan.as_of:%Y-%m-%d}",
        "license": "https://creativecommons.org/licenses/by-nc/4.0/",
        "creator": {"@type": "sc:Organization", "name": "Global PyPI Scan", "url": f"{index_url}datasets.html"},
        "citeAs": f"Global PyPI Scan, {scan.scan_id}. {scan.url}",
        "keywords": ["PyPI", "Python", "security", "malware", "software supply chain", "static analysis"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file.name,
                "name": file.name,
                "description": file.about,
                "contentUrl": file.url,
                "contentSize": f"{file.size} B",
                "encodingFormat": _FORMATS.get(PurePath(file.name).suffix, _OTHER_FORMAT),
                "sha256": file.sha256,
            }
            for file in scan.files
        ],
        "recordSet": [_record_set(name, columns) for name, columns in TABLES.items() if scan.file(name)],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _record_set(file: str, columns: Iterable[Column]) -> dict[str, Any]:
    name = file.removesuffix(".parquet")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column.name}",
                "name": column.name,
                "description": column.about,
                "dataType": _DATA_TYPES[column.type],
                **({"repeated": True} if column.type == "texts" else {}),
                "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
            }
            for column in columns
        ],
    }
