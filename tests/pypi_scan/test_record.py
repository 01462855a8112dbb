"""A record against its schema, and what a detection is about."""

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from pypi_scan.record import Detection, NotARecordError, decode_record, fingerprint, record_schema


@pytest.fixture
def record(make_scan: Callable[..., Any]) -> dict[str, Any]:
    """A record as a worker makes it."""
    made = make_scan({"a": None}).results("0001").records[0]
    assert isinstance(made, dict)
    return made


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """The published schema, in the hands of its readers."""
    schema = json.loads(json.dumps(record_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def without(key: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        del record[key]

    return change


def detection(**changes: object) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record["detections"][0] |= changes

    return change


CHANGES: dict[str, tuple[bool, Callable[[dict[str, Any]], None]]] = {
    "as a worker makes it": (True, lambda record: None),
    "no detections": (True, lambda record: record.update(detections=[])),
    "unknown keys": (True, detection(informational=True)),
    "no location or line": (True, lambda record: record["detections"][0].pop("location")),
    "a fractional score": (True, detection(score=0.5)),
    "no score": (False, without("score")),
    "no pypi": (False, without("pypi")),
    "metadata without package": (False, lambda record: record["metadata"]["uri_input"].pop("package_name")),
    "a severity that Aura does not know": (False, detection(severity="worst")),
    "a type without a name": (False, detection(type="")),
    "extra that is no object": (False, detection(extra=["x"])),
    "a line number below 0": (False, detection(line_no=-1)),
    "a score that no reader holds": (False, detection(score=2**53)),
    "tags that are no list": (False, detection(tags="network")),
    "a digest that is none": (False, lambda record: record["pypi"]["files"][0].update(sha256="0" * 63)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_published_schema_and_the_check_agree(
    what: str, record: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    fits, change = CHANGES[what]
    record = copy.deepcopy(record)
    change(record)
    assert validator.is_valid(record) is fits
    if fits:
        assert decode_record(json.dumps(record)).pypi.name == "a"
    else:
        with pytest.raises(NotARecordError):
            decode_record(json.dumps(record))


@pytest.mark.parametrize("text", ['"\\ud800"', "[" * 100_000 + "]" * 100_000, '{"a": nan}'], ids=range(3))
def test_json_that_readers_choke_on_is_no_record(text: str, record: dict[str, Any]) -> None:
    line = json.dumps(record | {"name": "MARK"}).replace('"MARK"', text)
    with pytest.raises(NotARecordError):
        decode_record(line)


WHERE = "packages/ab/cd/ef/demo-1.0-py3-none-any.whl$demo/core.py"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (f"ast_pattern#open_file/8#{WHERE}", "ast_pattern#open_file"),
        (f"module_import#codecs#{WHERE}:3", "module_import#codecs"),
        (f"leaking_secret#{WHERE}#8", "leaking_secret"),
        (f"string_finder#url#7a2a0964#{WHERE}:9", "string_finder#url#7a2a0964"),
        (f"file_stats#{WHERE}:1122$blob", "file_stats"),
        ("file_stats#packages/ab/cd/ef/other.tar.gz$x.py", "file_stats"),
        ("package_enrichment#demo", "package_enrichment#demo"),
        ("", ""),
    ],
)
def test_a_fingerprint_has_no_path_and_no_line_number(signature: str, expected: str) -> None:
    location = WHERE + ":1122$blob" if "blob" in signature else WHERE
    one = Detection(type="X", slug="x", severity="low", score=1, signature=signature, location=location)
    assert fingerprint(one) == expected
