"""Whether a record quotes secrets that it should not, as far as the control host can tell.

The worker takes them out (include/scripts/redaction.py), and the worker is not trusted. What reports a secret is known
by its type or tag, and has to be redacted; a secret that is quoted elsewhere cannot be told from any other text.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from pypi_scan.record import Detection

_REDACTED = re.compile(r"(?:\[redacted: \d+ characters, hmac-sha256 [0-9a-f]{16}\])?")
# Possessive, else each character of a long literal takes more memory than the line itself.
_LITERAL = re.compile(r'("""|\'\'\'|"|\')((?:[^\\"\']++|\\.|(?!\1).)*+)(?:\1|$)', re.DOTALL)
# What detections that report a secret have in `extra` that is secret, by their type.
_SECRET_KEYS = {
    "LeakingSecret": ("secret",),
    "LeakingPyPIrc": ("username", "password"),
    "StringMatch": ("string",),
}


def quoted_secret(detections: Iterable[Detection]) -> str | None:
    """Return where one of the `detections` of a record quotes the secret that it reports, or None if none does.

    ``LeakingSecret: extra.secret`` for one; never the secret itself.
    """
    return next((found for detection in detections for found in _quotations(detection)), None)


def _quotations(detection: Detection) -> Iterator[str]:
    if not (detection.type.startswith("Leaking") or "secrets_leak" in detection.tags):
        return
    keys = _SECRET_KEYS.get(detection.type, ())
    more = _decoded(detection.extra.get("extra"))
    if isinstance(more, dict) and more.get("type") == "call":
        keys = (*keys, "name")  # a user's, where a token can stand
    for key in keys:
        value = _decoded(detection.extra.get(key))
        if not all(_is_redacted(part) for part in (value if isinstance(value, list) else [value])):
            yield f"{detection.type}: extra.{key}"
    if not all(_is_redacted(literal[2]) for literal in _LITERAL.finditer(detection.line or "")):
        yield f"{detection.type}: line"


def _decoded(value: msgspec.Raw | None) -> Any:
    return "" if value is None else msgspec.json.decode(value)


def _is_redacted(value: object) -> bool:
    return isinstance(value, str) and _REDACTED.fullmatch(value) is not None
