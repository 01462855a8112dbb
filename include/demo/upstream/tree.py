"""The static tree that the upstream server serves: a package index as bandersnatch reads it.

Layout below the tree's root
    simple/index.v1_json    PEP 691 list of projects, each with its ``_last-serial``
    simple/<name>/index.v1_json   the page of a project that has a status (PEP 792)
    pypi/<name>/json        the document of a package, by canonical name
    packages/ab/cd/<60 hexadecimal digits>/<file>   by the file's BLAKE2b-256, with a ``.metadata`` beside each wheel

URLs in documents start with ORIGIN, which never resolves; the server puts its own address there.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from demo.upstream.recipes import Distribution, Release

ORIGIN = "http://upstream.invalid"
FIRST_SERIAL = 30_000_001  # of the size PyPI's serials have

Document = dict[str, Any]


class Tree:
    """Reads and writes the tree below `root`. Every file is replaced in one step: a server may be reading."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def serials(self) -> dict[str, int]:
        """Return project name, as the project spells it -> serial of its last change; empty for an empty tree."""
        try:
            index = json.loads(self._index_path.read_bytes())
        except FileNotFoundError:
            return {}
        return {project["name"]: project["_last-serial"] for project in index["projects"]}

    def last_serial(self) -> int:
        """Return the serial of the last change of all."""
        try:
            return int(json.loads(self._index_path.read_bytes())["meta"]["_last-serial"])
        except FileNotFoundError:
            return FIRST_SERIAL - 1

    def write_index(self, serials: dict[str, int], last_serial: int) -> None:
        """Write the list of projects; documents come first, so that a listed serial can always be fetched."""
        projects = [{"_last-serial": serial, "name": name} for name, serial in sorted(serials.items())]
        index = {"meta": {"_last-serial": last_serial, "api-version": "1.1"}, "projects": projects}
        _replace(self._index_path, _json_bytes(index))

    def document_path(self, name: str) -> Path:
        """Return where the document of the project of this name lies."""
        return self.root / "pypi" / canonicalize_name(name) / "json"

    def read_document(self, name: str) -> Document:
        """Return the document of a project; raises FileNotFoundError if there is none."""
        document: Document = json.loads(self.document_path(name).read_bytes())
        return document

    def write_document(self, name: str, document: Document) -> None:
        """Write the document of a project."""
        _replace(self.document_path(name), _json_bytes(document))

    def write_status(self, name: str, status: str, reason: str) -> None:
        """Write the PEP 691 page of a project, with its PEP 792 status and without its files."""
        page = {
            "meta": {"api-version": "1.4"},
            "name": canonicalize_name(name),
            "project-status": {"status": status, "reason": reason},
            "files": [],
            "versions": [],
        }
        _replace(self.root / "simple" / canonicalize_name(name) / "index.v1_json", _json_bytes(page))

    def add_release(self, document: Document, release: Release) -> None:
        """Store the files of `release` and enter it into `document`, which is not written yet."""
        files = [self._add_file(release, distribution) for distribution in release.distributions]
        document["releases"][release.version] = files
        if latest_version(document["releases"]) == release.version:
            document["info"] = _info(parse_email(release.metadata)[0], release.yanked)
            document["urls"] = files

    def _add_file(self, release: Release, distribution: Distribution) -> dict[str, Any]:
        data = distribution.data
        blake2 = hashlib.blake2b(data, digest_size=32).hexdigest()
        path = f"packages/{blake2[:2]}/{blake2[2:4]}/{blake2[4:]}/{distribution.filename}"
        _replace(self.root / path, data)
        core_metadata: dict[str, str] | bool = False
        if distribution.core_metadata is not None:
            _replace(self.root / f"{path}.metadata", distribution.core_metadata)
            core_metadata = {"sha256": hashlib.sha256(distribution.core_metadata).hexdigest()}
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return {
            "comment_text": "",
            "core-metadata": core_metadata,
            "digests": {"blake2b_256": blake2, "md5": md5, "sha256": hashlib.sha256(data).hexdigest()},
            "downloads": -1,
            "filename": distribution.filename,
            "has_sig": False,
            "md5_digest": md5,
            "packagetype": distribution.packagetype,
            "python_version": distribution.python_version,
            "requires_python": parse_email(release.metadata)[0].get("requires_python"),
            "size": len(data),
            "upload_time": _utc(release.uploaded, "%Y-%m-%dT%H:%M:%S"),
            "upload_time_iso_8601": _utc(release.uploaded, "%Y-%m-%dT%H:%M:%S.%fZ"),
            "url": f"{ORIGIN}/{path}",
            "yanked": release.yanked is not None,
            "yanked_reason": release.yanked,
        }

    @property
    def _index_path(self) -> Path:
        return self.root / "simple" / "index.v1_json"


def new_document(name: str, serial: int) -> Document:
    """Return the document of a project without releases."""
    info = _info({"name": name}, yanked=None)
    return {"info": info, "last_serial": serial, "releases": {}, "urls": [], "vulnerabilities": []}


def latest_version(releases: dict[str, list[dict[str, Any]]]) -> str | None:
    """Return the version that PyPI's ``info`` describes: final before pre-release, yanked only if all are."""

    def rank(version: str) -> tuple[bool, bool, bool, Version]:
        files = releases[version]
        yanked = bool(files) and all(file["yanked"] for file in files)
        try:
            parsed = Version(version)
        except InvalidVersion:  # from before PEP 440: older than anything
            return (not yanked, False, False, Version("0"))
        return (not yanked, not parsed.is_prerelease, True, parsed)

    return max(releases, key=rank, default=None)


def _info(metadata: RawMetadata, yanked: str | None) -> dict[str, Any]:
    """Return a document's ``info`` from the core metadata of a release; without a version, of a project without one."""
    name, version = metadata["name"], metadata.get("version")
    project_url = f"{ORIGIN}/project/{canonicalize_name(name)}/"
    home_page = metadata.get("home_page")
    return {
        "author": metadata.get("author", ""),
        "author_email": metadata.get("author_email", ""),
        "bugtrack_url": None,
        "classifiers": metadata.get("classifiers", []),
        "description": metadata.get("description", ""),
        "description_content_type": metadata.get("description_content_type"),
        "docs_url": None,
        "download_url": metadata.get("download_url"),
        "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
        "dynamic": metadata.get("dynamic"),
        "home_page": home_page or "",
        "keywords": ",".join(metadata.get("keywords", [])),
        "license": metadata.get("license"),
        "license_expression": metadata.get("license_expression"),
        "license_files": metadata.get("license_files"),
        "maintainer": metadata.get("maintainer", ""),
        "maintainer_email": metadata.get("maintainer_email", ""),
        "name": name,
        "package_url": project_url,
        "platform": None,
        "project_url": project_url,
        "project_urls": metadata.get("project_urls") or ({"Homepage": home_page} if home_page else None),
        "provides_extra": metadata.get("provides_extra"),
        "release_url": f"{project_url}{version}/" if version else project_url,
        "requires_dist": metadata.get("requires_dist"),
        "requires_python": metadata.get("requires_python"),
        "summary": metadata.get("summary"),
        "version": version,
        "yanked": yanked is not None,
        "yanked_reason": yanked,
    }


def _utc(moment: datetime, layout: str) -> str:
    return moment.astimezone(UTC).strftime(layout)


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(data)
    unfinished.replace(path)
