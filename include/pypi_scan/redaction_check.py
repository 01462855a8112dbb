"""Whether a record quotes secrets that it should not, as far as the control host can tell.

The worker takes them out (include/scripts/redaction.py), and the worker is not trusted. What reports a secret is known
by its type or tag, and has to be redacted; a secret that is quoted elsewhere cannot be told from any other text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_REDACTED = re.compile(r"(?:\[redacted: \d+ characters, hmac-sha256 [0-9a-f]{16}\])?")
_LITERAL = re.compile(r'("""|\'\'\'|"|\')((?:\\.|(?!\1).)*)(?:\1|$)', re.DOTALL)
# What detections that report a secret have in `extra` that is secret, by their type.
_SECRET_KEYS = {
    "LeakingSecret": ("secret",),
    "LeakingPyPIrc": ("username", "password"),
    "StringMatch": ("string",),
}


def quoted_secret(detections: Sequence[Mapping[str, Any]]) -> str | None:
    """Return where one of the `detections` of a record quotes the secret that it reports, or None if none does.

    ``LeakingSecret: extra.secret`` for one; never the secret itself.
    """
    return next((found for detection in detections for found in _quotations(detection)), None)


def _quotations(detection: Mapping[str, Any]) -> Iterator[str]:
    kind, tags = detection.get("type"), detection.get("tags")
    tagged = isinstance(tags, list) and "secrets_leak" in tags
    if not (tagged or (isinstance(kind, str) and kind.startswith("Leaking"))):
        return
    extra = detection.get("extra", {})
    if not isinstance(extra, dict):
        yield f"{kind}: extra"
        return
    call = isinstance(extra.get("extra"), dict) and extra["extra"].get("type") == "call"
    for name in (*_SECRET_KEYS.get(str(kind), ()), *(["name"] if call else [])):  # a user's, where a token can stand
        value = extra.get(name, "")
        if not all(_is_redacted(part) for part in (value if isinstance(value, list) else [value])):
            yield f"{kind}: extra.{name}"
    line = detection.get("line", "")
    literals = _LITERAL.finditer(line) if isinstance(line, str) else ()
    if not isinstance(line, str) or not all(_is_redacted(literal[2]) for literal in literals):
        yield f"{kind}: line"


def _is_redacted(value: object) -> bool:
    return isinstance(value, str) and _REDACTED.fullmatch(value) is not None
