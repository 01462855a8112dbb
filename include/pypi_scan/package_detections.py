"""What a record says of its package as the rest of PyPI sees it: downloads, dependents, names that look alike.

These detections change every month for nearly every package, the others only with a release or the scanner. So the
record store keeps records without them, and a scan puts them together again: ``join(split(line)).line == line``.
"""

from typing import Any, Literal, NamedTuple, get_args

import msgspec

PackageDetection = Literal["PackageInformation", "Typosquatting"]
_TYPES: tuple[str, ...] = get_args(PackageDetection)


class NotSeparableError(ValueError):
    """A record cannot be put together again from its parts as it is."""


class _Summed(msgspec.Struct):
    """What of a detection adds to its record."""

    type: str
    score: int
    tags: list[str] = []


class Parts(NamedTuple):
    """A record without package detections, as one line of JSON without its end; and those, each as it is in there."""

    record: bytes
    package_detections: list[msgspec.Raw]


class Joined(NamedTuple):
    """A whole record, as one line of JSON without its end, the number of its detections, and its score."""

    line: bytes
    detections: int
    score: int


_record_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_summed_decoder = msgspec.json.Decoder(_Summed)


def split(line: bytes) -> Parts:
    """Return the parts of a record; raises NotSeparableError if they would not give the same record again."""
    try:
        record = _record_decoder.decode(line)
        detections = _detections(record)
        package_detections = [raw for one, raw in detections if one.type in _TYPES]
        kept = [(one, raw) for one, raw in detections if one.type not in _TYPES]
        parts = Parts(_with_detections(record, kept).line, package_detections)
        whole = join(parts).line
    except (msgspec.MsgspecError, KeyError) as error:
        raise NotSeparableError(str(error)) from error
    if whole != line:
        raise NotSeparableError("its parts make another record")
    return parts


def join(parts: Parts) -> Joined:
    """Return the record of the parts, its package detections in their place, its tags and score as they follow."""
    record = _record_decoder.decode(parts.record)
    detections = [*_detections(record), *((_summed_decoder.decode(raw), raw) for raw in parts.package_detections)]
    return _with_detections(record, sorted(detections, key=lambda detection: bytes(detection[1])))


def _detections(record: dict[str, msgspec.Raw]) -> list[tuple[_Summed, msgspec.Raw]]:
    raws = msgspec.json.decode(record["detections"], type=list[msgspec.Raw])
    return [(_summed_decoder.decode(raw), raw) for raw in raws]


def _with_detections(record: dict[str, msgspec.Raw], detections: list[tuple[_Summed, msgspec.Raw]]) -> Joined:
    tags = sorted({tag for one, _ in detections for tag in one.tags})
    score = sum(one.score for one, _ in detections)
    changed: dict[str, Any] = {"detections": [raw for _, raw in detections], "tags": tags, "score": score}
    return Joined(msgspec.json.encode(record | changed, order="sorted"), len(detections), score)
