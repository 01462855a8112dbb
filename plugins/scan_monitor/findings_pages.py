"""The page *Findings*: the detections of a scan by type, tag, severity, score and package; and its export."""

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from pypi_scan.monitor.findings import (
    SORTS,
    Filter,
    Finding,
    choices,
    export,
    find,
    kinds,
    parse_after,
    parse_sort,
    total,
)
from pypi_scan.monitor.inspector import source_link
from pypi_scan.monitor.packed_scans import packed_scans
from pypi_scan.settings import Settings
from scan_monitor.asked_scan import asked_scan
from scan_monitor.findings_export import csv_lines, json_lines
from scan_monitor.pages import render

router = APIRouter()


@router.get("/findings")
def findings(request: Request) -> Response:
    """Answer with a page of findings; the address says which."""
    settings, query = Settings.load(), request.query_params
    scans = packed_scans(settings.scans_dir)
    scan = asked_scan(scans, query.get("scan", ""))
    wanted, sort = Filter.parse(query), parse_sort(query)
    page = find(scan.detections, wanted, sort, parse_after(query, sort))
    asked = _asked(scan.scan_id, wanted)
    return render(
        request,
        "findings.html.j2",
        scans=scans,
        scan=scan,
        wanted=wanted,
        sort=sort,
        sorts=SORTS,
        choices=choices(kinds(scan.detections), wanted),
        total=total(scan.detections, wanted),
        findings=page.findings,
        source=partial(source_link, settings.inspector_url),
        all=urlencode(asked),
        first=urlencode({**asked, "sort": sort}),
        further=page.after and urlencode({**asked, "sort": sort, "key": page.after.key, "row": page.after.row}),
        begins="row" in query,
    )


@router.get("/findings.csv")
def findings_csv(request: Request) -> Response:
    """Answer with all findings that the address asks for, as CSV."""
    return _export(request, csv_lines, "csv", "text/csv; charset=utf-8")


@router.get("/findings.jsonl")
def findings_jsonl(request: Request) -> Response:
    """Answer with all findings that the address asks for, as JSON lines."""
    return _export(request, json_lines, "jsonl", "application/x-ndjson")


def _export(
    request: Request, write: Callable[[Iterator[Finding]], Iterator[str]], suffix: str, media_type: str
) -> Response:
    query = request.query_params
    scan = asked_scan(packed_scans(Settings.load().scans_dir), query.get("scan", ""))
    lines = write(export(scan.detections, Filter.parse(query)))
    name = f'attachment; filename="findings-{scan.scan_id}.{suffix}"'
    return StreamingResponse(lines, media_type=media_type, headers={"Content-Disposition": name})


def _asked(scan_id: str, wanted: Filter) -> dict[str, object]:
    """Return the query of the address of these findings."""
    return {"scan": scan_id, **{name: value for name, value in vars(wanted).items() if value}}
