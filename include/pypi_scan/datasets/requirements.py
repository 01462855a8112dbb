"""What a package's ``requires_dist`` names: the canonical names of the packages that it needs."""

import re
from functools import lru_cache

from packaging.requirements import Requirement

from pypi_scan.names import canonical_name

# Most requirements: a name, extras, versions, a marker. What this does not match may still be one: packaging decides.
_VERSION = r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
_CLAUSE = rf"(?:(?:>=|<=|==|!=|<|>) ?{_VERSION}|(?:==|!=)[0-9]+(?:\.[0-9]+)*\.\*|~=[0-9]+\.{_VERSION})"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_CLAUSES = rf"{_CLAUSE}(?:, ?{_CLAUSE})*"
_USUAL = re.compile(rf"({_NAME})(?:\[{_NAME}(?:,{_NAME})*\])? ?(?:{_CLAUSES}|\({_CLAUSES}\))? ?(?:;(.*))?")


def dependency_names(requires_dist: list[str]) -> tuple[list[str], int]:
    """Return the canonical names that these requirements name, sorted and unique, and how many do not parse."""
    names = [_required_name(requirement) for requirement in requires_dist]
    return sorted({name for name in names if name is not None}), names.count(None)


@lru_cache(maxsize=1 << 17)  # most packages need the same few
def _required_name(requirement: str) -> str | None:
    # packaging takes 35 us for each, longer than all the rest that is done for a document.
    usual = _USUAL.fullmatch(requirement)
    if usual and (usual[2] is None or _is_marker(usual[2])):
        return _canonical(usual[1])
    return _parsed_name(requirement)


@lru_cache(maxsize=1 << 14)  # few are in use
def _is_marker(text: str) -> bool:
    return _parsed_name(f"x;{text}") is not None


@lru_cache(maxsize=1 << 16)
def _canonical(name: str) -> str | None:
    try:
        return canonical_name(name)
    except ValueError:
        return None


def _parsed_name(requirement: str) -> str | None:
    try:
        return canonical_name(Requirement(requirement).name)
    except (ValueError, RecursionError):  # RecursionError: thousands of parentheses in a marker
        return None
