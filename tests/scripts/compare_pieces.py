# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the faster functions with Aura's own on the same input: compare_pieces.py SCRIPTS

Run by the scanner's Python, which has Aura. Prints how many results of each were compared and fails at the first that
differs.
"""

import ast
import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import aura_engine  # noqa: F401 - loads Aura as the scanner does
import faster_scope
import faster_source
import faster_strings
import faster_typos
from aura import config, package, typos
from aura.analyzers import detect_redos, python_src_inspector
from aura.analyzers.detect_redos import CR, CharacterRange
from aura.analyzers.python import misc, nodes
from aura.stack import Stack

chance = random.Random(3)


def strings(alphabet: str, number: int, length: int) -> list[str]:
    """Return random strings, the shortest empty."""
    return ["".join(chance.choices(alphabet, k=chance.randint(0, length))) for _ in range(number)]


def entropy() -> int:
    """The entropy, to the last bit."""
    texts = [*strings("ab\x00é\xfe\xff€ xyz0123456789", 500, 300), "", "\xff", "a" * 10_000]
    for text in texts:
        assert faster_strings.entropy(text) == misc.calculate_entropy(text), text
    return len(texts)


def redos() -> int:
    """Which expressions are dangerous, and which cannot be judged."""

    def judged(function: Any, pattern: str) -> object:
        try:
            return function(pattern)
        except (OverflowError, RecursionError) as error:
            return type(error)

    parts = [*"a().?^$+*|", "b*", "[^a-f]", "[x-z]", "{2,}", "{3}", "\\d", "\\W", "(?:"]
    patterns = ["".join(chance.choices(parts, k=chance.randint(1, 9))) for _ in range(1500)]
    patterns += ["(a+)+", "(a|a)*", "([^a]|[^b])+", "no expression at all", "(" * 2000 + "a" + ")" * 2000]
    for pattern in patterns:
        assert judged(faster_strings.catastrophic, pattern) == judged(detect_redos.catastrophic, pattern), pattern
    return len(patterns)


def ranges() -> int:
    """Which classes of characters overlap."""
    classes = []
    for _ in range(14):
        pairs = [sorted(chance.choices((0, 5, 9, 10, 11, 20, 40, sys.maxunicode), k=2)) for _ in range(2)]
        found = [CR(low, high) for low, high in pairs]
        classes += [CharacterRange(found), CharacterRange(found, negate=True)]
    pairs = list(itertools.product(classes, repeat=2))
    for one, other in pairs:
        ends = [high for _, high in (*one.character_ranges, *other.character_ranges)]
        if one.negate != other.negate and max(ends) > 100:
            continue  # of these Aura makes sets of a million characters
        assert faster_strings.overlap(one, other) == one.overlap(other), (one, other)
    return len(pairs)


def trees() -> int:
    """The syntax trees of Python's own library, and two that are too deep."""
    sources = [path.read_text(encoding="utf-8") for path in sorted(Path(ast.__file__).parent.glob("*.py"))[:60]]
    sources += ["x = b'bytes', 1j, ..., None, True, u'u', {**a}", "+".join("a" * 300)]
    for source in sources:
        tree = ast.parse(source)
        assert json.dumps(faster_source.tree_to_dict(tree)) == json.dumps(python_src_inspector.ast2json(tree))
    for function in (faster_source.tree_to_dict, python_src_inspector.ast2json):
        try:
            function(ast.parse("+".join("a" * 600)))
        except RecursionError:
            continue
        raise AssertionError(function)
    return len(sources)


def scopes() -> int:
    """What is known of variables, in copies and copies of copies, while more is assigned to all of them."""
    names = "abcdefgh"
    for _ in range(200):
        pairs = [(faster_scope.Scope(), Stack())]
        for moment in range(60):
            one, other = chance.choice(pairs)
            name = chance.choice(names)
            if chance.random() < 0.2:
                pairs.append((one.copy(), other.copy()))
            elif chance.random() < 0.2:
                declaration = nodes.Import(names={name: f"module{moment}"})
                one[name] = declaration
                other[name] = nodes.Container(name=name, pointer=declaration)
            else:
                one[name] = other[name] = nodes.String(str(moment))
            for name in names:
                assert (name in one) == (name in other)
                if name in other:
                    assert one[name] == other[name]
                    assert one[name] is one[name]
    return 200


def names() -> int:
    """Which popular names are similar to a name, in which order, and how often it is downloaded."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    popular = ["".join(chance.choices(letters, k=chance.randint(1, 12))) for _ in range(150)]
    popular += ["".join(chance.choices("ab1", k=chance.randint(1, 9))) for _ in range(150)]
    popular = list(dict.fromkeys(popular))
    stats = [{"package_name": name, "downloads": 20_000} for name in popular]
    stats += [{"package_name": name, "downloads": 7} for name in ("rare", popular[0])]
    config.iter_pypi_stats = lambda: iter(stats)
    pieces = (typos, "check_name"), (package.PackageScore, "score_pypi_downloads")
    aura = [getattr(owner, name) for owner, name in pieces]
    faster_typos.apply()
    faster = [getattr(owner, name) for owner, name in pieces]
    asked = [*popular, "rare", "unknown", *map(_misspelled, popular), *map(_misspelled, map(_misspelled, popular))]
    found = 0
    for name in asked:
        similar = aura[0](name, full_list=True)
        assert faster[0](name, full_list=True) == similar, name
        found += len(similar)
        document = {"info": {}, "releases": {}, "urls": []}
        score = package.PackageScore(name, package.PypiPackage(name, document))
        assert faster[1](score) == aura[1](score), name
    assert found > len(asked)
    return len(asked)


def _misspelled(name: str) -> str:
    """Return `name` with a character added, taken away, replaced or moved."""
    at = chance.randrange(len(name))
    before, here, after = name[:at], name[at], name[at + 1 :]
    letter = chance.choice("abcxyz-019")
    added, replaced = f"{before}{letter}{here}{after}", f"{before}{letter}{after}"
    moved = f"{before}{after[:1]}{here}{after[1:]}"
    return chance.choice((added, before + after, replaced, moved)) or letter


print(json.dumps({check.__name__: check() for check in (entropy, redos, ranges, trees, scopes, names)}))
