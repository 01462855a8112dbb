"""A small mirror, and the programs of the worker node run in it as they are run there: by the scanner's Python."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "include" / "scripts"
UPLOADED = "2026-01-02T03:04:05Z"


def wheel(members: Mapping[str, str | bytes]) -> bytes:
    """Return a zip archive with these members, the same bytes every time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def sdist(members: Mapping[str, str | bytes]) -> bytes:
    """Return a .tar.gz archive with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Shard:
    """A shard in the making, and the mirror below `web` that has its files."""

    def __init__(self, directory: Path) -> None:
        self.web = directory / "mirror" / "web"
        self.web.mkdir(parents=True)
        self.file = directory / "0007.jsonl.zst"
        self.packages: list[dict[str, Any]] = []

    def add(self, name: str, files: Mapping[str, bytes], version: str = "1.0", **info: Any) -> dict[str, Any]:
        """Add a package with these release files, put them into the mirror, and return its line."""
        listed, entries = [], []
        for filename, data in files.items():
            digest = hashlib.sha256(data).hexdigest()
            path = f"packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{filename}"
            (self.web / path).parent.mkdir(parents=True, exist_ok=True)
            (self.web / path).write_bytes(data)
            listed.append({"path": path, "sha256": digest, "size": len(data), "upload_time": UPLOADED})
            kind = "bdist_wheel" if filename.endswith(".whl") else "sdist"
            url = f"https://files.example.org/{path}"
            entries.append({"url": url, "filename": filename, "packagetype": kind, "size": len(data)})
        document = {"info": {"name": name, "version": version, **info}, "releases": {version: entries}, "urls": entries}
        line = {"name": name, "version": version, "files": listed, "json": document}
        self.packages.append(line)
        return line

    def write(self) -> Path:
        """Write the shard file and return its path."""
        lines = "".join(json.dumps(package) + "\n" for package in self.packages)
        self.file.write_bytes(zstandard.ZstdCompressor().compress(lines.encode()))
        return self.file


def command(python: Path, program: str, **options: object) -> list[str]:
    """Return the command line of a program of include/scripts."""
    arguments = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    return [str(python), str(SCRIPTS / program), *arguments]


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line a program wrote to stderr."""
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """The Python of the scanner environment."""
    python = ROOT / ".venv-worker" / "bin" / "python"
    if not python.exists():
        pytest.fail("no scanner environment; run: make setup")
    return python


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """An empty shard."""
    return Shard(tmp_path)


@pytest.fixture(scope="session")
def run(worker_python: Path) -> Any:
    """Run a program of include/scripts to its end: ``run("prefetch.py", shard=..., cache=...)``."""

    def run(program: str, *flags: str, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return subprocess.run(
            [*command(worker_python, program, **options), *flags],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )

    return run
