"""A record whose detections quote the secret that they report is told from one where it is redacted."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from pypi_scan.record import Detection
from pypi_scan.redaction_check import quoted_secret

MARK = "[redacted: 24 characters, hmac-sha256 0123456789abcdef]"
SECRET = "planted-token-0123456789"


def leak(**changes: Any) -> dict[str, Any]:
    extra = {"name": "token", "secret": MARK, "extra": {"type": "variable"}}
    return {"type": "LeakingSecret", "extra": extra, "line": f'token = "{MARK}" + ""', **changes}


def decoded(detection: dict[str, Any]) -> Detection:
    return msgspec.json.decode(json.dumps({"slug": "x", "severity": "high", "score": 1, **detection}), type=Detection)


REDACTED = [
    leak(),
    leak(line=f"token = '''{MARK}"),
    leak(line="if token == SECRET:"),
    leak(extra={"name": "tokens", "secret": [MARK, MARK], "type": "url"}),
    leak(extra={"name": MARK, "secret": MARK, "extra": {"type": "call"}}),
    {"type": "LeakingPyPIrc", "tags": ["secrets_leak"], "extra": {"section": "a", "username": MARK, "password": MARK}},
    {"type": "StringMatch", "tags": ["secrets_leak"], "extra": {"signature_id": "aws", "string": MARK}, "line": "x"},
    {"type": "SetupScript", "tags": ["code_execution", "secrets_leak"], "line": f"f('{MARK}')"},
    {"type": "StringMatch", "tags": ["url"], "extra": {"signature_id": "url", "string": "http://a"}, "line": "'a'"},
    {"type": "FileStats", "extra": {"md5": "0"}},
]


def test_a_long_literal_is_looked_at_in_little_memory() -> None:
    line = f"token = '{MARK}' + '{'x' * 10**7}"
    tracemalloc.start()
    assert quoted_secret([decoded(leak(line=line))]) == "LeakingSecret: line"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(line)


def test_what_is_redacted() -> None:
    assert quoted_secret(map(decoded, REDACTED)) is None


@pytest.mark.parametrize(
    ("detection", "where"),
    [
        (leak(extra={"secret": SECRET}), "LeakingSecret: extra.secret"),
        (leak(extra={"secret": f"{MARK}{SECRET}"}), "LeakingSecret: extra.secret"),
        (leak(extra={"secret": [MARK, SECRET]}), "LeakingSecret: extra.secret"),
        (leak(extra={"secret": {"a": SECRET}}), "LeakingSecret: extra.secret"),
        (leak(extra={"name": SECRET, "secret": MARK, "extra": {"type": "call"}}), "LeakingSecret: extra.name"),
        (leak(line=f'token = "{MARK}" "{SECRET}"'), "LeakingSecret: line"),
        (leak(line=f"token = '{SECRET}"), "LeakingSecret: line"),
        ({"type": "LeakingPyPIrc", "extra": {"username": MARK, "password": SECRET}}, "LeakingPyPIrc: extra.password"),
        ({"type": "StringMatch", "tags": ["secrets_leak"], "extra": {"string": SECRET}}, "StringMatch: extra.string"),
        ({"type": "SetupScript", "tags": ["secrets_leak"], "line": f"f('{SECRET}')"}, "SetupScript: line"),
    ],
)
def test_what_is_not(detection: dict[str, Any], where: str) -> None:
    assert quoted_secret(map(decoded, [*REDACTED, detection])) == where
