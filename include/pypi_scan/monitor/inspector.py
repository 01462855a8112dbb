"""Links to PyPI's Inspector, which shows the files inside a distribution file."""

from urllib.parse import quote

from pypi_scan.names import HostileInputError, check_mirror_path

_DEPTH = 5  # packages/ab/cd/<hash>/<file>
_MOST_INSIDE = 1024  # characters of a path in a distribution file
_NOT_A_STEP = frozenset(("", ".", ".."))  # of a path into a tree


def project_link(inspector: str, package: str) -> str:
    """Return the address of the page of a package."""
    return f"{inspector.rstrip('/')}/project/{quote(package, safe='')}/"


def source_link(inspector: str, package: str, version: str, location: str | None, line_no: int | None) -> str | None:
    """Return the address of the file at a detection's `location`, at its line; None if it is in no distribution file.

    Of a file in an archive within the distribution file, or with an unusable path, it is the address of the
    distribution file: Inspector looks no deeper.
    `package` is a canonical name; version and location may be anything.
    """
    path, *inside = (location or "").split("$")
    try:
        parts = check_mirror_path(path).split("/")
    except HostileInputError:
        return None
    if len(parts) != _DEPTH or version in _NOT_A_STEP:
        return None
    shown = inside[0].split("/") if len(inside) == 1 else []
    if not _NOT_A_STEP.isdisjoint(shown) or sum(map(len, shown)) > _MOST_INSIDE:
        shown = []
    link = f"{project_link(inspector, package)}{_path(version, *parts)}/"
    if not shown:
        return link
    anchor = f"#line.{line_no}" if line_no is not None else ""
    return f"{link}{_path(*shown)}{anchor}"


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="", errors="replace") for part in parts)
