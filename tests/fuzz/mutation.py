"""Makes hostile input of real input: JSON lines are changed in their structure, everything else in its bytes."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

_MARK = "\N{SOFT HYPHEN}hostile\N{SOFT HYPHEN}"
_VALUES = [
    b"null", b"true", b"{}", b"[]", b"-1", b"1.5", b"-0", b"1e999", b"-1e999", b"NaN", b"1e-400", b"9007199254740992",
    b"18446744073709551616", b"9" * 5000, b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b"[" + b"0," * 20_000 + b"0]", b'""', b'"' + b"x" * 100_000 + b'"', rb'"\u0000"', rb'"\ud800"', rb'"\ud83d\ude00"',
    rb'"a\n"', rb'"\u001b[2J"', rb'"\u202egpj.exe"', rb'"\u2028"', b'"\xc2\x9b2J"', b'"\xff"', b'"\xed\xa0\x80"',
    b'"../../../etc/passwd"', b'"packages/../x"', b'"packages/%2e%2e/x"', b'"https://u:p@[/packages/x"',
    rb'"packages\\..\\x"', b'"{{ conf }}"', b'"$(id)"', b'"<script>"', b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31"',
]  # fmt: skip


def mutate(data: bytes, random: Random) -> bytes:
    """Return `data` after one to four changes."""
    for _ in range(random.randint(1, 4)):
        data = random.choice((_change_json, _change_json, _change_bytes, _change_lines))(data, random)
    return data


def _change_json(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    at = random.randrange(len(lines)) if lines else 0
    try:
        value = json.loads(lines[at])
    except (ValueError, LookupError, RecursionError):
        return _change_bytes(data, random)
    holder = [value]
    places = list(_places(holder))
    container, key = random.choice(places)
    if isinstance(container, dict) and random.random() < 0.3:
        container[random.choice((_MARK, key, key.upper()))] = container.pop(key)
    elif random.random() < 0.3:
        other, other_key = random.choice(places)
        container[key] = json.loads(json.dumps(other[other_key]))
    elif isinstance(container[key], list) and random.random() < 0.3:
        container[key] = container[key] * random.choice((0, 2, 50))
    else:
        container[key] = _MARK
    hostile = random.choice(_VALUES)
    text = json.dumps(holder[0], separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    mark = f'"{_MARK}"'.encode()
    as_key = hostile if hostile.startswith(b'"') else b'""'
    lines[at] = text.replace(mark + b":", as_key + b":").replace(mark, hostile) + b"\n"
    return b"".join(lines)


def _places(container: Any) -> Any:
    """Yield (container, key) of every value in a JSON value, which is in a list of its own."""
    waiting = [container]
    while waiting:
        container = waiting.pop()
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            yield container, key
            if isinstance(value, dict | list):
                waiting.append(value)


def _change_bytes(data: bytes, random: Random) -> bytes:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 1, 4, 1000)))
    some = random.choice((b"", random.randbytes(random.randint(1, 8)), random.choice(_VALUES), data[start:end] * 3))
    return data[:start] + some + data[end:]


def _change_lines(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    change: Callable[[], object] = random.choice(
        (lines.reverse, lines.clear, lambda: lines.append(b"\n"), lambda: lines.extend(lines[:200]), lambda: lines[1:])
    )
    change()
    return b"".join(lines)
