"""The packages to measure with: reads the corpus file, and fetches what it names with pip.

pip takes the files from its own default index, by name. Wheels are only downloaded. For an sdist pip asks the build
backend of the project for its metadata, which runs code of that project (a ``setup.py``): no line with `` all``, and no
release without a wheel, belongs into a corpus unless the project is well known.
"""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# What pip is to take for the machine it downloads for, by the architecture.
PLATFORMS = {
    "Linux x86_64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "Linux aarch64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    "macOS x86_64": ("macosx_12_0_x86_64",),
    "macOS arm64": ("macosx_12_0_arm64",),
    "Windows": ("win_amd64",),
}
PYTHONS = ("3.11", "3.12")
_SECONDS = 300  # for one call of pip
_NONE_FOUND = "No matching distribution found"


class CorpusError(Exception):
    """The corpus cannot be used; the message is one sentence that says why."""


@dataclass(frozen=True)
class Wanted:
    """One line of a corpus: the release, and whether all of its files are wanted."""

    name: str
    version: str
    everything: bool


def read(path: Path) -> list[Wanted]:
    """Return what the corpus at `path` asks for. Raises CorpusError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"the corpus {path} cannot be read ({error}); name a file of lines name==version") from None
    return parse(text)


def parse(text: str) -> list[Wanted]:
    """Return what the corpus `text` asks for, in its order. Raises CorpusError for a line that is none."""
    wanted: dict[str, Wanted] = {}
    for line in text.splitlines():
        content = line.partition("#")[0].strip()
        if not content:
            continue
        pin, _, rest = content.partition(" ")
        try:
            requirement = Requirement(pin)
        except InvalidRequirement:
            raise CorpusError(f"{line!r} is not name==version") from None
        specifiers = list(requirement.specifier)
        if len(specifiers) != 1 or specifiers[0].operator != "==" or rest.strip() not in ("", "all"):
            raise CorpusError(f"{line!r} is not name==version, or name==version all")
        name = canonicalize_name(requirement.name)
        if name in wanted:
            raise CorpusError(f"{name} is named twice")
        wanted[name] = Wanted(name, specifiers[0].version, bool(rest.strip()))
    return list(wanted.values())


def fetch(wanted: list[Wanted], pip: list[str], downloads: Path) -> Iterator[tuple[Wanted, list[Path]]]:
    """Yield every release with its files in `downloads`, sorted by name; `pip` is the command that runs pip.

    A release that was fetched before is not asked for again. Raises CorpusError where pip fails, or where there is no
    file of a release.
    """
    with ThreadPoolExecutor(4) as threads:
        yield from zip(wanted, threads.map(lambda one: _fetch_one(one, pip, downloads), wanted), strict=True)


def _fetch_one(wanted: Wanted, pip: list[str], downloads: Path) -> list[Path]:
    directory = downloads / f"{wanted.name}-{wanted.version}{'-all' if wanted.everything else ''}"
    complete = directory / ".complete"
    if not complete.exists():
        directory.mkdir(parents=True, exist_ok=True)
        pin = f"{wanted.name}=={wanted.version}"
        command = [*pip, "download", "--quiet", "--no-deps", "--dest", str(directory)]
        sdist = ["--no-binary", wanted.name]
        if wanted.everything:
            found = [_download([*command, *options, pin]) for options in (*_wheels(), sdist)]
        else:
            found = [_download([*command, *next(_wheels()), pin]) or _download([*command, *sdist, pin])]
        if not any(found):
            raise CorpusError(f"there is no file of {pin} that pip can fetch")
        complete.touch()
    return sorted(path for path in directory.iterdir() if path != complete)


def _wheels() -> Iterator[list[str]]:
    """Yield pip's options for the wheels of each platform and Python; Linux and the scanner's Python come first."""
    for platforms in PLATFORMS.values():
        for python in PYTHONS:
            names = [option for platform in platforms for option in ("--platform", platform)]
            yield ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *names]


def _download(command: list[str]) -> bool:
    """Return whether `command` downloaded a file; False if there is none. Raises CorpusError if pip failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise CorpusError(f"pip did not finish within {_SECONDS} seconds: {command[-1]}") from None
    if done.returncode and _NONE_FOUND not in done.stderr:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CorpusError(f"pip cannot fetch {command[-1]}: {lines[-1] if lines else 'no message'}")
    return done.returncode == 0
