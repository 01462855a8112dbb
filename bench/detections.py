"""Are the detections of two scans the same? Both sides are brought into one form first; each step has its reason.

Everything else has to be equal: detections are compared whole, as sorted multisets, with their number.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Detection = dict[str, Any]

NORMALISATIONS = {
    "paths": "the original has paths of this machine, the engine those of the mirror: the former become the latter",
    "unpacked archives": "the original unpacks into directories with random names, which get into texts: they become "
    "the path of the archive, as in the records of the engine",
    "doubled locations": "`A$A$x` becomes `A$x`: for some members Aura puts the archive in front of a location that "
    "has it already, which the engine mends",
    "outdated requirements": "`OutdatedPackage`, and `InvalidRequirement` because of `NoSuchPackage`, are left out: "
    "they only tell which other packages happen to be in the mirror, where the engine does not look",
    "failures": "`AnalysisError` is left out: the engine says where an analyzer failed, the original says nothing",
    "tags": "sorted: they are sets, and the original lists them in any order",
}
_TWICE = re.compile(r"^(packages/.+\$)\1")


def original_paths(web: str, temporary: str, unpacked: Mapping[str, str]) -> Callable[[str], str]:
    """Return the function that puts mirror paths into the texts of the original's detections.

    `web` is the directory of the mirror tree, `temporary` that of temporary files, `unpacked` maps the name of each
    directory below it to the archive that was unpacked there, as Aura names it.
    """
    directory = re.compile(re.escape(f"{temporary}/") + "(" + "|".join(map(re.escape, unpacked)) + ")(/?)")

    def mirror_path(match: re.Match[str]) -> str:
        return unpacked[match[1]] + ("$" if match[2] else "")

    def normalise(text: str) -> str:
        if unpacked and temporary in text:
            text = directory.sub(mirror_path, text)
        return text.replace(f"{web}/", "")

    return normalise


def multiset(detections: list[Detection], path: Callable[[str], str] = str) -> Counter[str]:
    """Return how often each of `detections` occurs, normalised, as JSON text; `path` is applied to every text."""
    plain = (_normalise(detection, path) for detection in detections if not _is_left_out(detection))
    return Counter(json.dumps(detection, sort_keys=True) for detection in plain)


def left_out(detections: list[Detection]) -> int:
    """Return how many of `detections` are not compared."""
    return sum(map(_is_left_out, detections))


def difference(left: Counter[str], right: Counter[str]) -> list[Detection]:
    """Return the detections of `left` that `right` lacks, in a defined order."""
    return [json.loads(text) for text in sorted((left - right).elements())]


def _is_left_out(detection: Detection) -> bool:
    if detection["type"] == "InvalidRequirement":
        return bool(detection.get("extra", {}).get("exc_type") == "NoSuchPackage")
    return detection["type"] in ("OutdatedPackage", "AnalysisError")


def _normalise(detection: Detection, path: Callable[[str], str]) -> Detection:
    result: Detection = _map_texts(detection, path)
    if "location" in result:
        result["location"] = _TWICE.sub(r"\1", result["location"])
    if "tags" in result:
        result["tags"] = sorted(result["tags"])
    return result


def _map_texts(value: Any, function: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return function(value)
    if isinstance(value, list):
        return [_map_texts(item, function) for item in value]
    if isinstance(value, dict):
        return {function(key): _map_texts(item, function) for key, item in value.items()}
    return value
