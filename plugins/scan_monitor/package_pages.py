"""The page *A package*: its history over the scans of this host, what was found in it, what changed; and the search."""

import re
from collections import Counter
from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from pypi_scan.monitor.inspector import project_link, source_link
from pypi_scan.monitor.package_history import InScan, TooLargeError, compare, history, names_like, read_record
from pypi_scan.monitor.packed_scans import PackedScan, packed_scans
from pypi_scan.names import HostileInputError, canonical_name, is_canonical
from pypi_scan.record import Detection, Record
from pypi_scan.settings import Settings
from scan_monitor.asked_scan import asked_scan
from scan_monitor.pages import link, render

router = APIRouter()

_DETECTIONS_A_PAGE = 100

type _PageNumber = Annotated[int, Query(ge=1, lt=10**6)]


@router.get("/packages")
def packages(request: Request, name: str = "") -> Response:
    """Lead to the package of this name, or answer with those whose names begin so."""
    scans = packed_scans(Settings.load().scans_dir)
    asked = name.strip()
    try:
        if asked and history(scans, canonical_name(asked)):
            return RedirectResponse(link(request, "package", name=canonical_name(asked)), 303)
    except HostileInputError:
        pass  # the start of a name need not be one
    newest = _newest(scans)
    return render(
        request,
        "packages.html.j2",
        asked=asked,
        scan=newest,
        names=names_like(newest, re.sub(r"[-_.]+", "-", asked).lower()) if asked else [],
    )


@router.get("/packages/{name}")
def package(
    request: Request,
    name: str,
    scan: str = "",
    kind: Annotated[str, Query(alias="type")] = "",
    page: _PageNumber = 1,
) -> Response:
    """Answer with the page of a package as a scan found it, the newest with a record unless `scan` says another."""
    settings = Settings.load()
    scans = packed_scans(settings.scans_dir)
    found = history(scans, name) if is_canonical(name) else []
    if not found:
        raise HTTPException(
            404, f"No scan of this host was asked for a package called {name:.260}. Search for the start of its name."
        )
    shown = _shown(found, scan)
    earlier = next((one for one in found[found.index(shown) + 1 :] if one.frame), None)
    too_large, record, before = None, None, None
    try:
        record = read_record(shown, name)
        before = read_record(earlier, name) if record and earlier else None
    except TooLargeError as error:
        too_large = str(error)
    detections = _detections(record, kind) if record else []
    pages = max(-(-len(detections) // _DETECTIONS_A_PAGE), 1)
    page = min(page, pages)
    return render(
        request,
        "package.html.j2",
        name=name,
        found=found,
        shown=shown,
        record=record,
        too_large=too_large,
        earlier=earlier,
        changes=compare(before, record) if before and record else None,
        types=sorted(Counter(one.type for one in record.detections).items()) if record else [],
        kind=kind,
        detections=detections[(page - 1) * _DETECTIONS_A_PAGE : page * _DETECTIONS_A_PAGE],
        number=len(detections),
        page=page,
        pages=pages,
        project=project_link(settings.inspector_url, name),
        source=partial(source_link, settings.inspector_url),
    )


def _newest(scans: list[PackedScan]) -> PackedScan:
    """Return the scan whose packages a search goes through: the newest of all packages, if there is one."""
    return next((scan for scan in scans if not scan.partial), asked_scan(scans, ""))


def _shown(found: list[InScan], scan_id: str) -> InScan:
    if not scan_id:
        return next((one for one in found if one.frame), found[0])
    for one in found:
        if one.scan.scan_id == scan_id:
            return one
    raise HTTPException(404, f"Scan {scan_id:.40} of this host was not asked for this package, or is not packed.")


def _detections(record: Record, kind: str) -> list[Detection]:
    """Return the detections of a type, or of all if it is empty, the worst first."""
    some = [one for one in record.detections if kind in ("", one.type)]
    return sorted(some, key=lambda one: (-one.score, one.type, one.location or "", one.line_no or 0))
