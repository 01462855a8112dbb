"""What both sides scan: a mirror tree of the fetched files, Aura's dataset about them, and a shard for the engine.

Layout below its root
    web/packages/ab/cd/<60 hexadecimal digits>/<file>, web/json/<name>    as the mirror has it
    dataset/pypi_stats.json, dataset/reverse_dependencies.json            as aura_dataset.tgz has them
"""

import hashlib
import json
import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import zstandard
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_UPLOADED = "2026-01-01T00:00:00.000000Z"  # of every file: the scans look at the code, not at its age


@dataclass(frozen=True)
class Release:
    """One package: its files, as entries of a shard, and its JSON document, as a mirror has it."""

    name: str
    version: str
    files: tuple[dict[str, Any], ...]
    document: dict[str, Any]

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return sum(int(file["size"]) for file in self.files)


class World:
    """The tree below `root`. It holds only the packages it was last built for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.web = root / "web"
        self.dataset = root / "dataset"

    def add(self, name: str, version: str, files: Iterable[Path]) -> Release:
        """Put a package into the mirror: its document, and hard links to `files`."""
        entries = [self._add_file(path) for path in files]
        metadata = _metadata(next(iter(files)))
        urls = [_url(entry) for entry in entries]
        document = {"info": _info(name, version, metadata), "releases": {version: urls}, "urls": urls}
        path = self.web / "json" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8")
        return Release(name, version, tuple(entries), document)

    def write_dataset(self, releases: list[Release]) -> None:
        """Write Aura's dataset as if `releases` were all there is, the first the most downloaded.

        It is much smaller than the real one, which Aura reads for every file of a package: that favours the original.
        """
        self.dataset.mkdir(parents=True, exist_ok=True)
        stats = (
            json.dumps({"package_name": release.name, "downloads": 1_000_000 // (place + 1)})
            for place, release in enumerate(releases)
        )
        (self.dataset / "pypi_stats.json").write_text("\n".join(stats) + "\n", encoding="utf-8")
        dependents: dict[str, list[str]] = {}
        for release in releases:
            for requirement in _required(release.document["info"]["requires_dist"]):
                dependents.setdefault(requirement, []).append(release.name)
        dependents = {name: sorted(set(names)) for name, names in dependents.items()}
        (self.dataset / "reverse_dependencies.json").write_text(json.dumps(dependents), encoding="utf-8")

    def write_shard(self, path: Path, releases: list[Release]) -> None:
        """Write the shard that has the engine scan `releases`."""
        lines = (
            json.dumps({"name": r.name, "version": r.version, "files": r.files, "json": r.document}) for r in releases
        )
        path.write_bytes(zstandard.ZstdCompressor().compress("".join(f"{line}\n" for line in lines).encode()))

    def python_files(self, release: Release) -> Iterator[bytes]:
        """Yield the Python source files in the archives of `release`, every copy of them."""
        for entry in release.files:
            yield from _members(self.web / entry["path"], ".py")

    def _add_file(self, source: Path) -> dict[str, Any]:
        data = source.read_bytes()
        address = hashlib.blake2b(data, digest_size=32).hexdigest()
        path = f"packages/{address[:2]}/{address[2:4]}/{address[4:]}/{source.name}"
        target = self.web / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.link(source, target)
        return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "upload_time": _UPLOADED}


def _url(entry: dict[str, Any]) -> dict[str, Any]:
    filename = entry["path"].rpartition("/")[2]
    wheel = filename.endswith(".whl")
    return {
        "filename": filename,
        "packagetype": "bdist_wheel" if wheel else "sdist",
        "python_version": filename.split("-")[-3] if wheel else "source",
        "url": f"file:///{entry['path']}",
        "digests": {"sha256": entry["sha256"]},
        "size": entry["size"],
        "upload_time_iso_8601": _UPLOADED,
    }


def _info(name: str, version: str, metadata: bytes) -> dict[str, Any]:
    headers = BytesHeaderParser().parsebytes(metadata)
    links = (str(link).partition(",") for link in headers.get_all("Project-URL", []))
    return {
        "name": name,
        "version": version,
        "summary": str(headers.get("Summary", "")),
        "home_page": str(headers.get("Home-page", "")) or None,
        "project_urls": {label.strip(): url.strip() for label, _, url in links} or None,
        "classifiers": [str(classifier) for classifier in headers.get_all("Classifier", [])],
        "requires_dist": [str(requirement) for requirement in headers.get_all("Requires-Dist", [])] or None,
    }


def _required(lines: list[str] | None) -> Iterator[str]:
    for line in lines or ():
        try:
            yield canonicalize_name(Requirement(line).name)
        except InvalidRequirement:
            continue


def _metadata(path: Path) -> bytes:
    """Return the metadata that the distribution at `path` comes with."""
    found = _members(path, ".dist-info/METADATA" if path.suffix == ".whl" else "/PKG-INFO")
    return next(iter(found), b"")


def _members(path: Path, suffix: str) -> Iterator[bytes]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(suffix):
                    yield archive.read(info)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(suffix):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield content.read()
