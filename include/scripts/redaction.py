"""Takes the secrets out of what a record quotes: each becomes its length and a keyed hash.

``[redacted: 40 characters, hmac-sha256 0123456789abcdef]`` stands for a secret; the same secret gives the same hash, so
that its re-use can be found, and without the key nobody can check a guess. What counts as a secret:

* what a detection is about that reports one: ``LeakingSecret``, ``LeakingPyPIrc``, a ``StringMatch`` of a rule for the
  tokens of some service. However short, it goes there, with every string literal of the line of source that is quoted:
  a secret can be put together from parts. Line by line, so that other detections of the line do not quote it either;
* what looks like one by itself: passwords in URLs, literals given to a name that says so, tokens of known services.

Everywhere else in the record a secret goes, also encoded, if it has `_LONG` characters: `admin` is a password
somewhere and a word everywhere. One that could be a name in a program, `environment`, goes where it is quoted.
Locations, names, tags and digests stay, and so do paths in other texts. What is said of the package as such (see
records.OF_PACKAGE) is looked at apart from what is said of its files: neither is searched for secrets of the other.
"""

import ast
import base64
import hashlib
import hmac
import json
import re
import warnings
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

from program import ProgramError

_KEY: Final = re.compile(r"[0-9a-f]{64}\n?")
_LONG = 8  # characters from which on a secret is looked for in all that is quoted
_TOKEN = 16  # characters from which on something looks like a token
# What Aura's detections say in `extra` that is secret; all others of the tag only quote a line.
_SECRET_KEYS = {
    "LeakingSecret": ("secret",),
    "LeakingPyPIrc": ("username", "password"),
    "StringMatch": ("string",),
}
_TAG = "secrets_leak"
_VOCABULARY = ("type", "signature_id")  # names in `extra` whose values are Aura's own words
_DIGESTS = "FileStats"  # the type whose detections quote nothing
_LITERAL = re.compile(r'("""|\'\'\'|"|\')((?:\\.|(?!\1).)*)(\1|$)', re.DOTALL)
_WORD = re.compile(r"[^\W\d]+(?:[./-]+[^\W\d]+)*")
_AROUND = ("", "'", '"')  # the characters around a text that is quoted as a whole
# A string as Aura writes it in the expression that a secret is given to.
_VALUE = re.compile(r"""(?<=String\(value=)(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""")
_CHECKSUM = re.compile(r"(?<=#)[0-9a-f]{6,8}(?=#|$)")
# The only group of each alternative is the secret. Repetitions that could be tried from many places are bounded.
_BY_ITSELF = re.compile(
    r"""
    ://([\w.-]{20,}(?::[^\s/?\#'"@{}<>$*]*)?)@
  | ://[^\s/?\#'"@:]*:(?!%s@)([^\s/?\#'"@{}<>$*]+)@
  | [?&;][\w.-]{0,64}(?i:pass|pwd|token|secret|api_?key)[\w.-]{0,64}=(?!%s)([^\s&;\#'"\\{}<>$]{5,})
  | (?i:pass|pwd|token(?!i)|secret|api_?key|access_?key)\w{0,64}["']?\]?\s{0,8}(?::[^=\n"']{0,64})?[:=]\s{0,8}
    [bBrRuU]?["']((?=[^"']*\d)(?=[^"']*[A-Za-z])[\w+/=.~-]{16,})["']
  | \b(gh[pousr]_[A-Za-z0-9]{36,} | github_pat_\w{22,} | pypi-AgE[\w-]{16,} | xox[abprs]-[\w-]{10,}
    | [sr]k_live_\w{24,} | sq0(?:atp|csp)-[\w-]{22,} | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[\w-]{35})
    """,
    re.VERBOSE,
)
# What no secret comes without: texts that have none of it need not be searched.
_HINT = re.compile(r"://|[?&;:=]|gh[pousr]_|github_pat_|pypi-AgE|xox|k_live_|sq0|AKIA|ASIA|AIza")

Detection = dict[str, Any]
_Span = tuple[int, int, str]  # where a secret starts and ends in a text, and itself, which need not be what is there


class Key:
    """The key of the hashes: 32 random bytes that whoever asks for a scan keeps to themselves."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Read a key, 64 lower-case hexadecimal digits; raises ProgramError if it is none."""
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeError) as error:
            raise ProgramError(f"the redaction key {path.name} cannot be read ({error}); ship it again") from error
        if not _KEY.fullmatch(text):
            raise ProgramError(f"the redaction key {path.name} is not 64 hexadecimal digits; ship it again")
        return cls(bytes.fromhex(text))

    @cached_property
    def id(self) -> str:
        """Eight hexadecimal digits that tell keys apart."""
        return hashlib.sha256(b"redaction key id" + self._secret).hexdigest()[:8]

    def hash(self, text: str) -> str:
        """Return the keyed hash of `text`, 16 hexadecimal digits."""
        return hmac.digest(self._secret, text.encode(), "sha256").hex()[:16]

    def redacted(self, text: str) -> str:
        """Return what stands for `text` where it is not to be read."""
        return f"[redacted: {len(text)} characters, hmac-sha256 {self.hash(text)}]" if text else ""


def redact(detections: list[Detection], key: Key) -> list[Detection]:
    """Return detections, all of a package's files or all of the package as such, without the secrets they quote."""
    secrets: set[str] = set()
    lines: set[tuple[str, int]] = set()
    texts: set[str] = set()
    for detection in detections:
        if _reports_secret(detection):
            lines.add(_line(detection))
            secrets.update(_reported(detection))
        if detection["type"] != _DIGESTS:
            texts.update((detection.get("line", ""), *_strings(detection.get("extra"))))
    secrets.update(secret for text in texts for _, _, secret in _by_themselves(text))
    if not (secrets or lines):
        return detections
    known = _Known(secrets, key)
    return known.without_checksums([known.without(detection, _line(detection) in lines) for detection in detections])


class _Known:
    """The secrets of a package, and what becomes of a text that quotes them."""

    def __init__(self, secrets: set[str], key: Key) -> None:
        self._key = key
        self._secrets = secrets
        self._checksums: dict[str, str] = {}
        self._texts: dict[tuple[str, bool], str] = {}
        # By their first characters, the longest first: one look at each place of a text, with any number of secrets.
        self._forms: dict[str, list[tuple[str, str]]] = {}
        forms = {form: secret for secret in sorted(secrets) if len(secret) >= _LONG for form in _forms(secret)}
        for form in sorted(forms, key=lambda form: (-len(form), form)):
            self._forms.setdefault(form[:_LONG], []).append((form, forms[form]))

    def without(self, detection: Detection, on_line_of_secret: bool) -> Detection:
        """Return `detection` without secrets, but for checksums of them."""
        if detection["type"] == _DIGESTS:
            return detection
        location = detection.get("location", "")
        redacted = dict(detection)
        extra = detection.get("extra", {})
        if extra:
            cut = detection["type"] == "AnalysisError"
            redacted["extra"] = self._value(extra, location, cut) if detection["type"] != "ModuleImport" else extra
            if _reports_secret(detection):
                redacted["extra"].update(self._own(detection, redacted["extra"]))
            self._note_checksums(extra, redacted["extra"])
        for name in ("message", "signature"):
            if name in detection and detection["type"] != "ModuleImport":
                redacted[name] = self._outside(location, detection[name])
        if "line" in detection:
            line = detection["line"]
            redacted["line"] = self.text(line)
            in_other_form = redacted["line"] == line and (extra != redacted.get("extra", {}) or self._in_escapes(line))
            if on_line_of_secret or in_other_form:
                redacted["line"] = self._literals(line)
        return redacted

    def without_checksums(self, detections: list[Detection]) -> list[Detection]:
        """Return `detections` with keyed hashes for Aura's checksums of secrets, which anybody can check a guess by."""
        if self._checksums:
            for detection in detections:
                if "signature" in detection:
                    detection["signature"] = _CHECKSUM.sub(
                        lambda match: self._checksums.get(match[0], match[0]), detection["signature"]
                    )
        return detections

    def text(self, text: str, cut: bool = False) -> str:
        """Return `text` without secrets; if it is `cut` it can end in the beginning of one."""
        if (text, cut) not in self._texts:
            parts, at = [], 0
            for start, end, secret in _merged(text, [*self._found(text, cut), *_by_themselves(text)]):
                parts += [text[at:start], self._key.redacted(secret)]
                at = end
            self._texts[text, cut] = "".join([*parts, text[at:]])
        return self._texts[text, cut]

    def _found(self, text: str, cut: bool) -> Iterator[_Span]:
        """Yield where the longest form of a known secret is at each place of `text`."""
        if not self._forms:
            return
        for start in range(len(text) - _LONG + 1):
            for form, secret in self._forms.get(text[start : start + _LONG], ()):
                end = min(start + len(form), len(text))
                whole = text.startswith(form, start) or (cut and form.startswith(text[start:]))
                if whole and (not _WORD.fullmatch(form) or _is_quoted(text, start, end)):
                    yield start, end, secret
                    break

    def _literals(self, line: str) -> str:
        """Return a line of source without any of its string literals, and without secrets."""
        parts, at = [], 0
        for match in _LITERAL.finditer(line):
            parts += [self.text(line[at : match.start()]), match[1], self._key.redacted(_evaluated(match)), match[3]]
            at = match.end()
        return "".join([*parts, self.text(line[at:])])

    def _in_escapes(self, line: str) -> bool:
        """Return whether a literal of `line` stands for something that quotes a secret, and has escapes in it."""
        if "\\" not in line:
            return False
        values = map(_evaluated, _LITERAL.finditer(line))
        return any(self.text(value) != value for value in values)

    def _value(self, value: Any, location: str, cut: bool) -> Any:
        if isinstance(value, str):
            return self._outside(location, value, cut)
        if isinstance(value, dict):
            return {self._name(name): self._item(name, item, location, cut) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, location, cut) for item in value]
        return value

    def _name(self, name: str) -> str:
        return self.text(name) if _is_token(name) else name

    def _item(self, name: str, item: Any, location: str, cut: bool) -> Any:
        return item if name in _VOCABULARY else self._value(item, location, cut)

    def _outside(self, location: str, text: str, cut: bool = False) -> str:
        """Return `text` without secrets, but with `location` as it is: a secret can be the name of a file."""
        parts = text.split(location) if location else [text]
        return location.join(self.text(part, cut) for part in parts)

    def _own(self, detection: Detection, extra: dict[str, Any]) -> dict[str, Any]:
        """Return what the detection of a secret has in `extra` that is secret, each redacted whole.

        `extra` is the same without the secrets that are long.
        """
        own: dict[str, Any] = {}
        for name in _secret_names(detection):
            secret = detection["extra"][name]
            own[name] = [*map(self._key.redacted, secret)] if isinstance(secret, list) else self._key.redacted(secret)
        if "name" in extra and "name" not in own:
            own["name"] = _VALUE.sub(self._short, extra["name"])
        return own

    def _short(self, value: re.Match[str]) -> str:
        """Return a string literal in an expression without the secret that it is, however short."""
        literal = _LITERAL.fullmatch(value[0])
        content = _evaluated(literal) if literal else ""
        return f"'{self._key.redacted(content)}'" if content in self._secrets else value[0]

    def _note_checksums(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        if before == after:
            return
        values = [str(before.get(name)) for name in ("section", "username", "password")]  # of a LeakingPyPIrc
        for text in (*_strings(before), "#".join(values)):
            checksum = format(zlib.adler32(text.encode()), "x")
            self._checksums[checksum] = self._key.hash(text)[:8]


def _reports_secret(detection: Detection) -> bool:
    return detection["type"].startswith("Leaking") or _TAG in detection.get("tags", ())


def _line(detection: Detection) -> tuple[str, int]:
    return detection.get("location", ""), detection.get("line_no", -1)


def _secret_names(detection: Detection) -> list[str]:
    """Return the names in `extra` of what is secret in a detection that reports one."""
    extra = detection.get("extra", {})
    names: tuple[str, ...] = _SECRET_KEYS.get(detection["type"], ())
    if (extra.get("extra") or {}).get("type") == "call":
        names = (*names, "name")  # of the user: many services take a token in its place
    return [name for name in names if name in extra]


def _reported(detection: Detection) -> Iterator[str]:
    """Yield the secrets that a detection reports and that are to be looked for elsewhere."""
    for name in _secret_names(detection):
        for secret in _strings(detection["extra"][name]):
            if name not in ("name", "username") or _is_token(secret):
                yield secret


def _is_token(text: str) -> bool:
    return len(text) >= _TOKEN and any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def _by_themselves(text: str) -> list[_Span]:
    """Return the secrets in `text` that need no detection to be seen."""
    if not _HINT.search(text):
        return []
    matches = ((match, match.lastindex or 0) for match in _BY_ITSELF.finditer(text))
    return [(match.start(group), match.end(group), match[group]) for match, group in matches]


def _merged(text: str, spans: list[_Span]) -> list[_Span]:
    """Return `spans` in order, those that overlap as one, of all the text they cover."""
    merged: list[_Span] = []
    for start, end, secret in sorted(spans):
        if not merged or start >= merged[-1][1]:
            merged.append((start, end, secret))
        elif end > merged[-1][1]:
            first, _, _ = merged.pop()
            merged.append((first, end, text[first:end]))
    return merged


def _is_quoted(text: str, start: int, end: int) -> bool:
    return text[max(start - 1, 0) : start] in _AROUND and text[end : end + 1] in _AROUND


def _forms(secret: str) -> Iterator[str]:
    """Yield how a record can quote a secret of at least `_LONG` characters.

    As it is; as Python and JSON write it; as it is in a URL; each line of it, for the line of a source is all that is
    quoted; in base64, with whatever before and after it, and in hexadecimal.
    """
    data = secret.encode()
    yield data.hex()
    for before in range(3):  # bytes of something else that share its first group of characters
        encoded = base64.b64encode(b"\0" * before + data)
        inner = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6].decode()
        yield from (inner, inner.replace("+", "-").replace("/", "_"))
    yield "".join(f"\\x{byte:02x}" for byte in data)
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1], secret.encode("unicode_escape").decode())
    for in_url in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield from (in_url, re.sub("%..", lambda match: match[0].lower(), in_url))
    yield from (line for raw in secret.splitlines() if len(line := raw.strip()) >= _TOKEN)
    yield from (form for form in (" ".join(secret.split()), unquote(secret)) if len(form) >= _LONG)
    yield secret


def _evaluated(literal: re.Match[str]) -> str:
    """Return what a match of `_LITERAL` stands for, as far as it can be told."""
    _, content, end = literal.groups()
    if "\\" not in content or not end:
        return content
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that are none
            return str(ast.literal_eval(literal[0]))
    except (SyntaxError, ValueError):
        return content


def _strings(value: Any) -> Iterator[str]:
    """Yield the strings in a plain value, keys of dicts not among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
