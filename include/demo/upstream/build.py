"""Builds the upstream tree, and makes its world move: releases that are published, projects that are removed."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from demo.upstream.real_packages import (
    RealPackagesUnavailableError,
    cached_pins,
    fetch_real_packages,
    load_pins,
    real_release,
)
from demo.upstream.recipes import PACKAGES_DIR, Release, load_recipes
from demo.upstream.tree import Tree, new_document

_BEFORE_ANY_UPLOAD = datetime(2000, 1, 1, tzinfo=UTC)


class UpstreamError(Exception):
    """The upstream tree cannot be changed as asked."""


@dataclass(frozen=True)
class UpstreamSummary:
    """What the upstream holds. `notice` is a sentence to show where real packages are missing, else None."""

    own_packages: int
    real_packages: int
    releases: int
    files: int
    total_bytes: int
    last_serial: int
    notice: str | None = None


def build_upstream(destination: Path, cache: Path, *, real_packages: bool = True) -> UpstreamSummary:
    """Build the tree at ``destination/web``: the demo's own packages and, if they can be had, the pinned real ones.

    Real packages are kept in `cache`. A tree that is current is left as it is, with whatever was published into it.
    One that is not is built anew, with serials above the old ones, so that a mirror of it notices. Raises
    real_packages.PinMismatchError if a download is not what was pinned.
    """
    notice = _fetch(cache) if real_packages else None
    pins = cached_pins(cache) if real_packages else []
    fingerprint = _fingerprint([pin.sha256 for pin in pins])
    stamp = destination / "fingerprint"
    if not stamp.exists() or stamp.read_text(encoding="ascii") != fingerprint:
        releases = {recipe.name: recipe.releases() for recipe in load_recipes()}
        releases |= {pin.name: [real_release(pin, cache)] for pin in pins}
        stamp.unlink(missing_ok=True)
        _write_tree(destination, releases)
        stamp.write_text(fingerprint, encoding="ascii")
    return _summary(Tree(destination / "web"), notice)


def publish_release(
    destination: Path, name: str, version: str, *, uploaded: datetime, files: Mapping[str, str] | None = None
) -> int:
    """Publish a new release of one of the demo's own packages and return its serial, the highest of all.

    `files` (path -> text) are added to the package's sources, or take their place. Raises UpstreamError if there is no
    such package, or if it has this version already.
    """
    tree = Tree(destination / "web")
    recipes = {canonicalize_name(recipe.name): recipe for recipe in load_recipes()}
    recipe = recipes.get(canonicalize_name(name))
    serials = tree.serials()
    if recipe is None or recipe.name not in serials:
        raise UpstreamError(f"the upstream has no package {name!r} of its own to release")
    document = tree.read_document(recipe.name)
    if version in document["releases"]:
        raise UpstreamError(f"{recipe.name} {version} was released before; a release is never replaced")
    serial = tree.last_serial() + 1
    tree.add_release(document, recipe.further_release(version, uploaded, files or {}))
    document["last_serial"] = serial
    tree.write_document(recipe.name, document)
    tree.write_index(serials | {recipe.name: serial}, serial)
    return serial


def remove_project(destination: Path, name: str) -> None:
    """Remove a project: it is no longer listed and its document is gone; its files stay, as nothing asks for them.

    Raises UpstreamError if there is no such project.
    """
    tree = Tree(destination / "web")
    serials = tree.serials()
    removed = canonicalize_name(name)
    kept = {listed: serial for listed, serial in serials.items() if canonicalize_name(listed) != removed}
    if len(kept) == len(serials):
        raise UpstreamError(f"the upstream has no project {name!r} to remove")
    tree.write_index(kept, tree.last_serial() + 1)
    tree.document_path(name).unlink()


def set_status(destination: Path, name: str, status: str, reason: str = "") -> int:
    """Give a project a PEP 792 status and return its new serial; a quarantined project has no releases to show.

    Raises UpstreamError if there is no such project.
    """
    tree = Tree(destination / "web")
    tree.write_status(name, status, reason)
    return _change(tree, name, {"releases": {}, "urls": []} if status == "quarantined" else {})


def yank_release(destination: Path, name: str, version: str) -> int:
    """Yank all files of a release and return the project's new serial; raises UpstreamError if there is no project."""
    tree = Tree(destination / "web")
    releases = tree.read_document(name)["releases"]
    for file in releases[version]:
        file["yanked"] = True
    return _change(tree, name, {"releases": releases})


def _change(tree: Tree, name: str, change: Mapping[str, Any]) -> int:
    """Change keys of a project's document, as a change of the project with a serial of its own."""
    serials = tree.serials()
    spelled = next((each for each in serials if canonicalize_name(each) == canonicalize_name(name)), None)
    if spelled is None:
        raise UpstreamError(f"the upstream has no project {name!r}")
    serial = tree.last_serial() + 1
    tree.write_document(spelled, {**tree.read_document(spelled), **change, "last_serial": serial})
    tree.write_index(serials | {spelled: serial}, serial)
    return serial


def _fetch(cache: Path) -> str | None:
    try:
        fetch_real_packages(cache)
    except RealPackagesUnavailableError as error:
        had, wanted = len(cached_pins(cache)), len(load_pins())
        return f"Only {had} of {wanted} real packages could be had; the demo goes on without the others. pip: {error}"
    return None


def _fingerprint(pinned: list[str]) -> str:
    """Return a digest of all that decides what the tree holds: this code, the package files, the real packages."""
    digest = hashlib.sha256("\n".join(pinned).encode())
    for path in sorted([*Path(__file__).parent.glob("*.py"), *PACKAGES_DIR.glob("*.toml")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _write_tree(destination: Path, packages: Mapping[str, list[Release]]) -> None:
    """Write ``destination/web`` anew; serials rise in the order in which the packages changed last."""
    current, unfinished = destination / "web", destination / "web.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    tree = Tree(unfinished)
    serial = Tree(current).last_serial()
    serials: dict[str, int] = {}
    for name in sorted(packages, key=lambda name: (_last_upload(packages[name]), name)):
        serial += 1
        document = new_document(name, serial)
        for release in packages[name]:
            tree.add_release(document, release)
        tree.write_document(name, document)
        serials[name] = serial
    tree.write_index(serials, serial)
    shutil.rmtree(current, ignore_errors=True)
    unfinished.rename(current)


def _last_upload(releases: list[Release]) -> datetime:
    return max((release.uploaded for release in releases), default=_BEFORE_ANY_UPLOAD)


def _summary(tree: Tree, notice: str | None) -> UpstreamSummary:
    names = tree.serials().keys()
    own = names & {recipe.name for recipe in load_recipes()}
    releases = [files for name in names for files in tree.read_document(name)["releases"].values()]
    sizes = [file["size"] for files in releases for file in files]
    return UpstreamSummary(
        own_packages=len(own),
        real_packages=len(names) - len(own),
        releases=len(releases),
        files=len(sizes),
        total_bytes=sum(sizes),
        last_serial=tree.last_serial(),
        notice=notice,
    )
