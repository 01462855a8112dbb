"""The JSON document of a package as the scanner gets to see it: the files of the release that are there, no others."""

from typing import Any
from urllib.parse import unquote, urlsplit

from shard import Package, ReleaseFile


def visible_document(package: Package, files: tuple[ReleaseFile, ...]) -> dict[str, Any]:
    """Return the document of `package` with exactly `files` as its chosen release.

    ``urls`` keeps all files of the release: what kinds of distributions PyPI has of it is no matter of this cache.
    """
    listed = package.document.get("releases", {}).get(package.version)
    known = {_path(entry): entry for entry in listed if isinstance(entry, dict)} if isinstance(listed, list) else {}
    entries = {file.path: _entry(known.get(file.path, {}), file) for file in package.files}
    return {
        **package.document,
        "info": {**package.document["info"], "version": package.version},
        "releases": {package.version: [entries[file.path] for file in files]},
        "urls": list(entries.values()),
    }


def _entry(known: dict[str, Any], file: ReleaseFile) -> dict[str, Any]:
    # The scanner looks below its mirror for the path of the URL, as it stands: nothing of it may be quoted.
    filename = file.path.rpartition("/")[2]
    return {"filename": filename, "packagetype": None, **known, "url": f"file:///{file.path}"}


def _path(entry: dict[str, Any]) -> str:
    url = entry.get("url")
    return unquote(urlsplit(url).path).removeprefix("/") if isinstance(url, str) else ""
