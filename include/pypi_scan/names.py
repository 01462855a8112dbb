"""What may enter from upstream: project names, release file paths and digests.

Everything here comes from outside and is used as a path or a key later on, so it is checked once, where it enters.
"""

import re
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidName, canonicalize_name

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Or half a surrogate pair, or what is not seen and changes how the text around it is read or broken into lines.
_CONTROL_CHARACTER = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_MAX_COMPONENT = 255  # bytes; the limit of every file system a mirror lives on
_MAX_SHOWN = 500  # characters
_MAX_PATH = 1024  # bytes; leaves room below Linux's 4096 for the root that it is joined to


class HostileInputError(ValueError):
    """Upstream, or a worker, sent a name, path or digest that cannot be used safely."""


def printable(text: object, limit: int = _MAX_SHOWN) -> str:
    """Return `text` in a form that a log, a terminal or a page shows as it is: on one line, what is not seen escaped.

    That is `limit` characters at most. For messages that others make of outside input; what is quoted with ``!r`` is so
    already.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text)[:limit])[:limit]


def canonical_name(name: str) -> str:
    """Return the PEP 503 form of a project name: lower case, runs of ``-_.`` as one ``-``.

    Raises HostileInputError for what PEP 508 does not accept as a name.
    """
    try:
        canonical = canonicalize_name(name, validate=True)
    except (InvalidName, TypeError):
        raise HostileInputError(f"not a valid project name: {name!r:.120}") from None
    if len(canonical) > _MAX_COMPONENT:
        raise HostileInputError(f"project name of {len(canonical)} characters: {canonical!r:.60}...")
    return canonical


def is_canonical(name: str) -> bool:
    """Return whether `name` is a project name in canonical form."""
    try:
        return canonical_name(name) == name
    except HostileInputError:
        return False


def mirror_path(url: str) -> str:
    """Return the path below the mirror's ``web/`` of a release file, e.g. ``packages/ab/cd/<hash>/six-1.16.0.tar.gz``.

    Only the path of the URL counts, as for bandersnatch. Raises HostileInputError for a path that would leave
    ``packages/`` or that a file system cannot hold.
    """
    try:
        path = unquote(urlsplit(url).path)
    except ValueError as error:  # a host in brackets that is no IPv6 address, for one
        raise HostileInputError(f"not a URL: {url!r:.200} ({error!s:.80})") from None
    return check_mirror_path(path.removeprefix("/"))


def check_mirror_path(path: str) -> str:
    """Return `path` if it is a relative file path below ``packages/``, without ``.``, ``..`` or control characters.

    Raises HostileInputError otherwise.
    """
    parts = path.split("/")
    if parts[0] != "packages" or len(parts) < 2:
        raise HostileInputError(f"not a path below packages/: {path!r:.200}")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode("utf-8", "surrogatepass")) > _MAX_COMPONENT:
            raise HostileInputError(f"path with an unusable component: {path!r:.200}")
    if len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH:
        raise HostileInputError(f"path of over {_MAX_PATH} bytes: {path!r:.200}")
    if _CONTROL_CHARACTER.search(path):
        raise HostileInputError(f"path with a control character: {path!r:.200}")
    if "\\" in path:
        raise HostileInputError(f"path with a backslash: {path!r:.200}")
    return path


def check_sha256(digest: str) -> str:
    """Return `digest` if it is a lower-case hexadecimal SHA-256; raises HostileInputError otherwise."""
    if not _SHA256.fullmatch(digest):
        raise HostileInputError(f"not a sha256 digest: {digest!r:.80}")
    return digest
