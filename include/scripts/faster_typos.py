# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for `aura.typos.check_name` and `aura.package.PackageScore.score_pypi_downloads`.

Aura measures the distance to every popular name, in pure Python, and for every file of a release again. A distance of
less than 3 is what counts, and most names can be seen to be further away: by their lengths, and by their characters.
"""

import functools
from collections.abc import Iterable
from typing import Any, Literal

from aura import config, package, typos  # type: ignore[import-untyped]
from aura.exceptions import MissingFile  # type: ignore[import-untyped]
from packaging.utils import canonicalize_name

_FAR = 3  # the distance from which on names are not similar


class Names:
    """Canonical names to compare others with."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = [(name, len(name), _characters(name)) for name in names]

    def similar(self, name: str) -> list[str]:
        """Return the names, in their order, that are similar to the canonical name `name`, and not the same."""
        near = (popular for popular in self._near(name, len(name), _characters(name)) if popular != name)
        return [popular for popular in near if 0 < (typos.damerau_levenshtein(name, popular) or 0) < _FAR]

    def _near(self, name: str, length: int, characters: int) -> list[str]:
        """Return the names whose distance has to be measured.

        A step from the shorter of two names to the longer changes the length by one at most, and takes one at most of
        the characters away that the longer has nowhere: Aura transposes only what both of them have.
        """
        return [
            popular
            for popular, popular_length, popular_characters in self._names
            if abs(length - popular_length) < _FAR
            and (
                characters & ~popular_characters if length <= popular_length else popular_characters & ~characters
            ).bit_count()
            < _FAR
        ]


def _characters(name: str) -> int:
    """Return a set of bits, at least one for the characters of `name`, the same for the same character."""
    return functools.reduce(lambda bits, character: bits | 1 << ord(character) % 64, name, 0)


def apply() -> None:
    """Replace them in this process, for the popular names and downloads that Aura knows of by now."""
    try:
        known = [(canonicalize_name(line["package_name"]), int(line["downloads"])) for line in config.iter_pypi_stats()]
    except MissingFile:
        return
    threshold = typos.threshold_or_default(None)
    similar = functools.cache(Names(name for name, downloads in known if downloads >= threshold).similar)
    downloads_of = dict(reversed(known))  # Aura takes the first

    def check_name(name: str, *, full_list: Literal[True]) -> list[str]:
        return similar(canonicalize_name(name))

    def score_pypi_downloads(score: Any) -> Any:
        downloads = downloads_of.get(score.package_name)
        if downloads is None:
            return score.NA("PyPI downloads")
        normalized = package.log_scale(downloads)
        return score.Value(downloads, normalized, "PyPI downloads", f"{downloads} (+{normalized})")

    typos.check_name = check_name
    package.PackageScore.score_pypi_downloads = score_pypi_downloads
