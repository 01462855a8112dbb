"""A record: what ``dataset.zst`` holds for a package, one compact JSON object a line.

The structs here are what a worker's records are checked against, and what ``record.schema.json`` is made of, so the
published schema and the check cannot differ. Aura 2.1 says what a record is; ``pypi`` is added by this project.
"""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pypi_scan.names import printable

SCHEMA = "record.schema.json"

# Without a look behind it, Python's ``$`` lets a line end through.
type Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
# A pattern, for the message about a wrong choice of an enum would quote it.
type Severity = Annotated[str, Meta(pattern=r"^(critical|high|medium|low|unknown)$(?!\n)")]
# What 64-bit readers (SQLite, Parquet) and JavaScript hold exactly.
type Count = Annotated[int, Meta(ge=0, lt=2**53)]
type Score = Annotated[int, Meta(gt=-(2**53), lt=2**53)] | Annotated[float, Meta(gt=-(2.0**53), lt=2.0**53)]


class RecordFile(msgspec.Struct, frozen=True):
    """A distribution file that was scanned; `path` is relative to the mirror's ``web/``, `size` in bytes."""

    path: str
    sha256: Sha256
    size: Count
    upload_time: str


class RecordOrigin(msgspec.Struct, frozen=True):
    """The release that was scanned; `name` is canonical (PEP 503)."""

    name: str
    version: str
    files: list[RecordFile]


class Detection(msgspec.Struct, frozen=True):
    """Something that an analyzer saw.

    `location` is a path in the mirror, with ``$`` before the path inside an archive; `line_no` counts from 1 and `line`
    is the source there. `signature` tells detections of a package apart. `extra` differs from type to type.
    """

    type: Annotated[str, Meta(min_length=1, max_length=200)]
    slug: str
    severity: Severity
    score: Score
    message: str = ""
    signature: str = ""
    location: str | None = None
    line: str | None = None
    line_no: Count | None = None
    tags: list[str] = []
    extra: dict[str, msgspec.Raw] = {}


class UriInput(msgspec.Struct, frozen=True):
    """What the scanner was asked to scan, by both names that readers use."""

    package: str
    package_name: str


class Metadata(msgspec.Struct, frozen=True):
    """What Aura says of the scan; everything else in it is free."""

    uri_input: UriInput


class Record(msgspec.Struct, frozen=True):
    """The record of a package. `name` is ``mirror://<package>``; `score` is the sum over the detections, as Aura's."""

    detections: list[Detection]
    imported_modules: list[str]
    tags: list[str]
    metadata: msgspec.Raw
    score: Score
    name: str
    pypi: RecordOrigin


_MIRROR_PATH = re.compile(r"packages/[0-9a-f]{2}/[^#]*")
_LINE_NUMBER = re.compile(r"(^|[:/])\d+$")


class NotARecordError(ValueError):
    """A record is not of the shape that the schema asks for; the message says where, and quotes nothing of it."""


_MAX_VALUES = 4_000_000  # of a record, which may be some 100 bytes of memory each

_decoder = msgspec.json.Decoder(Record)
_whole_decoder = msgspec.json.Decoder()
_metadata_decoder = msgspec.json.Decoder(Metadata)


def decode_record(line: str) -> Record:
    """Return the record in a line of JSON; raises NotARecordError.

    Everything in it can be decoded, the parts that are free too, down to the last number.
    """
    if line.count(",") > _MAX_VALUES:  # each value but the first of an array or object follows one
        raise NotARecordError(f"over {_MAX_VALUES} values")
    try:
        record = _decoder.decode(line)
        _metadata_decoder.decode(record.metadata)
        _whole_decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotARecordError(printable(error)) from error
    return record


def fingerprint(detection: Detection) -> str:
    """Return what a detection is about: its signature without the paths and line numbers, which change every release.

    ``ast_pattern#open_file/8#packages/.../x.whl$x/y.py`` is ``ast_pattern#open_file``.
    """
    text = detection.signature
    if detection.location:
        text = text.replace(detection.location, "")
    parts = (_LINE_NUMBER.sub("", part) for part in _MIRROR_PATH.sub("", text).split("#"))
    return "#".join(filter(None, parts))


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a record."""
    (schema, metadata), definitions = msgspec.json.schema_components([Record, Metadata], ref_template="#/$defs/{name}")
    definitions["Record"]["properties"]["metadata"] = metadata
    for definition in definitions.values():
        definition["description"] = " ".join(definition["description"].split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record of the Global PyPI Scan",
        **schema,
        "$defs": definitions,
    }
