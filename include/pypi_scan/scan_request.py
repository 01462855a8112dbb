"""What a global scan is asked for: the params of a DAG run, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pypi_scan.release import in_utc


class RequestError(ValueError):
    """A param cannot be used. The message names it and says what it may be."""


@dataclass(frozen=True)
class ScanRequest:
    """What a scan was asked for.

    `packages` are names or glob patterns (``zope.*``), empty for all; `limit` takes the first so many by name.
    """

    as_of: datetime
    packages: tuple[str, ...] = ()
    limit: int | None = None


def scan_request(
    params: Mapping[str, Any], logical_date: datetime | None, now: datetime, *, backfill: bool = False
) -> ScanRequest:
    """Make a request of a DAG run's params; `as_of` is the param if given, else the logical date, else `now`.

    A run's logical date may lie in the future, by a browser's clock for one: then it is `now` too.

    Raises RequestError for an `as_of` that is no date or lies in the future, for any `as_of` in a backfill, whose runs
    would all scan the same, and for an empty package name. Types and bounds of the other params are checked by Airflow
    before a run starts.
    """
    if backfill and params.get("as_of"):
        raise RequestError("as_of: a backfill scans each of its own dates; create it again, without as_of")
    packages = tuple(text.strip() for text in params.get("packages") or ())
    if "" in packages:
        raise RequestError("packages: an empty name; write one package name or pattern a line")
    return ScanRequest(_as_of(params.get("as_of"), logical_date, now), packages, params.get("limit"))


def _as_of(param: str | None, logical_date: datetime | None, now: datetime) -> datetime:
    if not param:
        return min(logical_date or now, now)
    try:
        as_of = in_utc(datetime.fromisoformat(param))
    except ValueError:
        raise RequestError(f"as_of: {param!r:.80} is not a date; write for example 2026-11-01T00:00:00Z") from None
    if as_of > now:
        raise RequestError(f"as_of: {as_of:%Y-%m-%d %H:%M} UTC lies in the future; a scan can look back, not ahead")
    return as_of
