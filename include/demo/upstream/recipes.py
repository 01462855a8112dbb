"""Reads the demo's own packages: one TOML file a package in ``packages/``.

Keys of a package file
    name, summary, author, description, home_page, requires_python, classifiers
                    as in the core metadata
    requires        requirement strings
    [extras]        extra -> requirement strings
    [scripts]       console script -> "module:function"
    [project_urls]  label -> URL
    [files]         path -> text; ``@VERSION@`` stands for the release's version, ``@WHEEL_TAG@`` for a wheel's tag.
                    What lies in the import package (or is the single module) goes into wheels and sdists, the rest
                    into sdists only.
    [[releases]]    in order of their upload
        version
        uploaded        UTC
        distributions   "sdist" or a wheel tag; default: both an sdist and a py3-none-any wheel; may be empty
        yanked          the reason, if the release was yanked
        truncated       true: every file of the release is cut in half, and its digests are those of what is left
        requires        instead of the package's
        files           added to the package's files, or in place of them

A directory of Python sources would not do: some are Python 2, some are insecure on purpose, and linters, type checkers
and anti-virus programs would trip over them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from demo.upstream.archives import Metadata, write_sdist, write_wheel

PACKAGES_DIR = Path(__file__).parent / "packages"
SDIST = "sdist"
DEFAULT_DISTRIBUTIONS = (SDIST, "py3-none-any")


@dataclass(frozen=True)
class Distribution:
    """One distribution file, ready to be uploaded. `core_metadata` is what an index extracts from a wheel."""

    filename: str
    data: bytes
    packagetype: str
    python_version: str
    core_metadata: bytes | None


@dataclass(frozen=True)
class Release:
    """One release of a package: its metadata text and its files. `yanked` is the reason, None if it was not."""

    version: str
    uploaded: datetime
    metadata: bytes
    distributions: tuple[Distribution, ...]
    yanked: str | None = None


@dataclass(frozen=True)
class Recipe:
    """One of the demo's own packages, as its file describes it."""

    name: str
    fields: Mapping[str, Any]

    def releases(self) -> list[Release]:
        """Build every release, oldest first."""
        return [self._release(**release) for release in self.fields.get("releases", ())]

    def further_release(self, version: str, uploaded: datetime, files: Mapping[str, str]) -> Release:
        """Build a release that is not in the package's file, as an sdist and a pure wheel."""
        return self._release(version, uploaded, files=files)

    def _release(
        self,
        version: str,
        uploaded: datetime,
        *,
        files: Mapping[str, str] | None = None,
        distributions: list[str] | tuple[str, ...] = DEFAULT_DISTRIBUTIONS,
        requires: list[str] | None = None,
        yanked: str | None = None,
        truncated: bool = False,
    ) -> Release:
        metadata = self._metadata(version, requires)
        texts = {
            path: text.replace("@VERSION@", version)
            for path, text in {**self.fields.get("files", {}), **(files or {})}.items()
        }
        built = []
        for kind in distributions:
            distribution = _sdist(metadata, texts) if kind == SDIST else _wheel(metadata, texts, kind)
            built.append(_truncated(distribution) if truncated else distribution)
        return Release(version, uploaded, metadata.render(), tuple(built), yanked)

    def _metadata(self, version: str, requires: list[str] | None) -> Metadata:
        fields = self.fields
        return Metadata(
            name=self.name,
            version=version,
            summary=fields["summary"],
            author=fields["author"],
            description=fields.get("description", f"# {self.name}\n\n{fields['summary']}.\n"),
            home_page=fields.get("home_page", ""),
            requires_python=fields.get("requires_python", ""),
            classifiers=tuple(fields.get("classifiers", ())),
            project_urls=fields.get("project_urls", {}),
            requires=tuple(fields.get("requires", ()) if requires is None else requires),
            extras={extra: tuple(items) for extra, items in fields.get("extras", {}).items()},
            scripts=fields.get("scripts", {}),
        )


def load_recipes() -> list[Recipe]:
    """Return the demo's own packages, sorted by canonical name."""
    recipes = []
    for path in PACKAGES_DIR.glob("*.toml"):
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        recipes.append(Recipe(fields["name"], fields))
    return sorted(recipes, key=lambda recipe: canonicalize_name(recipe.name))


def _sdist(metadata: Metadata, texts: Mapping[str, str]) -> Distribution:
    filename = f"{metadata.file_stem()}.tar.gz"
    return Distribution(filename, write_sdist(metadata, texts), "sdist", "source", core_metadata=None)


def _wheel(metadata: Metadata, texts: Mapping[str, str], tag: str) -> Distribution:
    module = canonicalize_name(metadata.name).replace("-", "_")
    importable = {
        path: text.replace("@WHEEL_TAG@", tag)
        for path, text in texts.items()
        if path == f"{module}.py" or path.startswith(f"{module}/")
    }
    data = write_wheel(metadata, importable, tag)
    return Distribution(
        f"{metadata.file_stem()}-{tag}.whl", data, "bdist_wheel", tag.split("-")[0], core_metadata=metadata.render()
    )


def _truncated(whole: Distribution) -> Distribution:
    """Cut a distribution in half; an index cannot extract metadata from what is left."""
    return Distribution(
        whole.filename, whole.data[: len(whole.data) // 2], whole.packagetype, whole.python_version, core_metadata=None
    )
