# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for what Aura does with every string: `detect_redos.catastrophic`, `CharacterRange.overlap`, the entropy.

Each string, prose included, is parsed as a regular expression; and to compare a negated character class it makes sets
of a million characters.
"""

import functools
import math
from typing import Any

from aura.analyzers import detect_redos  # type: ignore[import-untyped]
from aura.analyzers.python import misc  # type: ignore[import-untyped]

_MANY = 100  # opening parentheses: from here on the parser may run out of stack, which Aura reports
_REMEMBERED = 4096  # strings

_overlap = detect_redos.CharacterRange.overlap
_catastrophic = detect_redos.catastrophic


def entropy(text: str) -> float:
    """Return the Shannon entropy of `text` in bits, of the characters below U+00FF alone; the same sum as Aura's."""
    total = 0.0
    for character in sorted(set(text)):
        if character > "\xfe":
            break
        share = float(text.count(character)) / len(text)
        total += -share * math.log(share, 2)
    return total


def overlap(one: Any, other: Any) -> bool:
    """Return whether two character classes (`CharacterRange`) have a character in common."""
    if one.negate is other.negate:
        return bool(_overlap(one, other))
    return _reaches_out_of(other, one) if one.negate else _reaches_out_of(one, other)


def _reaches_out_of(one: Any, other: Any) -> bool:
    """Return whether a character is in the ranges of `one` and in none of those of `other`."""
    covered = sorted((low, high) for low, high in other.character_ranges if low <= high)
    for low, high in one.character_ranges:
        for start, end in covered:
            if start <= low <= end:
                low = end + 1
        if low <= high:
            return True
    return False


@functools.lru_cache(_REMEMBERED)
def catastrophic(pattern: str) -> bool:
    """Return whether `pattern` is a regular expression that can take for ever; raises RecursionError as Aura does."""
    repeats = pattern.count("*") + pattern.count("+") + pattern.count("{")
    if pattern.count("(") < _MANY and (not repeats or (repeats == 1 and "|" not in pattern)):
        return False  # it takes a repetition in a repetition, or alternatives in one
    return bool(_catastrophic(pattern))


def apply() -> None:
    """Replace them in this process."""
    misc.calculate_entropy = functools.lru_cache(_REMEMBERED)(entropy)
    detect_redos.CharacterRange.overlap = overlap
    detect_redos.catastrophic = catastrophic
