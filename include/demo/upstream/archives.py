"""Writes wheels and source distributions, byte for byte the same every time.

Formats: the binary distribution format and the core metadata specification of packaging.python.org. Nothing of a
package is ever executed here; a ``setup.py`` is only text.
"""

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold; the same for every member
_MTIME = 315532800  # the same moment, for tar


@dataclass(frozen=True)
class Metadata:
    """The core metadata of one release, as far as the demo's packages use it."""

    name: str
    version: str
    summary: str
    author: str
    description: str = ""
    home_page: str = ""
    requires_python: str = ""
    classifiers: tuple[str, ...] = ()
    project_urls: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    def file_stem(self) -> str:
        """Return ``name-version`` as file names spell it."""
        return f"{canonicalize_name(self.name).replace('-', '_')}-{self.version}"

    def render(self) -> bytes:
        """Return the text of METADATA and PKG-INFO."""
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {self.name}",
            f"Version: {self.version}",
            f"Summary: {self.summary}",
            f"Author: {self.author}",
        ]
        if self.home_page:
            lines.append(f"Home-page: {self.home_page}")
        lines += [f"Project-URL: {label}, {url}" for label, url in self.project_urls.items()]
        lines += [f"Classifier: {classifier}" for classifier in self.classifiers]
        if self.requires_python:
            lines.append(f"Requires-Python: {self.requires_python}")
        lines += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        for extra, requirements in self.extras.items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f"Requires-Dist: {_with_extra(requirement, extra)}" for requirement in requirements]
        lines += ["Description-Content-Type: text/markdown", "", self.description]
        return "\n".join(lines).encode()


def _with_extra(requirement: str, extra: str) -> str:
    name, _, marker = (part.strip() for part in requirement.partition(";"))
    return f"{name}; ({marker}) and extra == '{extra}'" if marker else f"{name}; extra == '{extra}'"


def write_wheel(metadata: Metadata, files: Mapping[str, str], tag: str) -> bytes:
    """Return a wheel with these files (path in the wheel -> text), e.g. for the tag ``py3-none-any``."""
    dist_info = f"{metadata.file_stem()}.dist-info"
    members = {path: text.encode() for path, text in sorted(files.items())}
    if metadata.scripts:
        members[f"{dist_info}/entry_points.txt"] = _entry_points(metadata.scripts).encode()
    members[f"{dist_info}/METADATA"] = metadata.render()
    members[f"{dist_info}/WHEEL"] = _wheel_file(tag).encode()
    members[f"{dist_info}/RECORD"] = _record(members, f"{dist_info}/RECORD").encode()

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            info = zipfile.ZipInfo(path, _ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, on every system
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def _wheel_file(tag: str) -> str:
    python, abi, platforms = tag.split("-")
    lines = ["Wheel-Version: 1.0", "Generator: demo-upstream", f"Root-Is-Purelib: {str(platforms == 'any').lower()}"]
    for one_python in python.split("."):
        lines += [f"Tag: {one_python}-{abi}-{platform}" for platform in platforms.split(".")]
    return "\n".join(lines) + "\n"


def _entry_points(scripts: Mapping[str, str]) -> str:
    return "[console_scripts]\n" + "".join(f"{name}={target}\n" for name, target in scripts.items())


def _record(members: Mapping[str, bytes], record_path: str) -> str:
    rows = []
    for path, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(data)}\n")
    return "".join(rows) + f"{record_path},,\n"


def write_sdist(metadata: Metadata, files: Mapping[str, str]) -> bytes:
    """Return a ``.tar.gz`` source distribution with these files (path below its top directory -> text).

    Without a ``setup.py`` among the files, a ``pyproject.toml`` for flit is added, so that pip can build it.
    """
    members = {path: text.encode() for path, text in files.items()}
    members["PKG-INFO"] = metadata.render()
    members.setdefault("README.md", metadata.description.encode())
    if "setup.py" not in members:
        members["pyproject.toml"] = _pyproject(metadata).encode()

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in sorted(members.items()):
            info = tarfile.TarInfo(f"{metadata.file_stem()}/{path}")
            info.size = len(data)
            info.mtime = _MTIME
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(data))
    return _gzip(buffer.getvalue())


def _gzip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def _pyproject(metadata: Metadata) -> str:
    module = canonicalize_name(metadata.name).replace("-", "_")
    lines = [
        "[build-system]",
        'requires = ["flit_core >=3.12,<5"]',
        'build-backend = "flit_core.buildapi"',
        "",
        "[project]",
        f"name = {_toml(metadata.name)}",
        f"version = {_toml(metadata.version)}",
        f"description = {_toml(metadata.summary)}",
        f"authors = [{{ name = {_toml(metadata.author)} }}]",
        'readme = "README.md"',
        f"classifiers = {_toml_list(metadata.classifiers)}",
        f"dependencies = {_toml_list(metadata.requires)}",
    ]
    if metadata.requires_python:
        lines.append(f"requires-python = {_toml(metadata.requires_python)}")
    tables = {
        "project.optional-dependencies": {name: _toml_list(items) for name, items in metadata.extras.items()},
        "project.scripts": {name: _toml(target) for name, target in metadata.scripts.items()},
        "project.urls": {label: _toml(url) for label, url in metadata.project_urls.items()},
        "tool.flit.module": {"name": _toml(module)},
    }
    for table, entries in tables.items():
        if entries:
            lines += ["", f"[{table}]", *(f"{_toml(key)} = {value}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _toml_list(items: tuple[str, ...]) -> str:
    return f"[{', '.join(_toml(item) for item in items)}]"
