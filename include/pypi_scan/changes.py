"""``changes.jsonl.zst``: what is different from the scan before, one line a package, sorted by name; and a page of it.

``{"package", "change", "version", "previous_version", "score", "previous_score", "added", "removed"}``. `change` is
``new`` or ``gone`` (was not asked for before, is not any more), ``version`` or, where only the findings differ,
``detections``. `added` and `removed` are ``{"type", "fingerprint", "message", "severity", "score"}``: a fingerprint is
a signature free of paths and line numbers, and counts once a package, in however many files it is found. Findings are
compared where both scans have a record; of a ``new`` package all are `added`.
"""

import importlib.resources
import tempfile
from pathlib import Path

import duckdb
import jinja2
import zstandard

from pypi_scan.editions.columns import DETECTIONS, PACKAGES
from pypi_scan.editions.database import duckdb_session, quoted
from pypi_scan.manifest import ChangeCounts

CHANGES = "changes.jsonl.zst"
CHANGES_PAGE = "changes.html"

_KINDS = ("new", "gone", "version", "detections")
_ON_PAGE = 500  # packages, those with the highest score of what was added
_PAGE_ROWS = """
    SELECT package, change, version, previous_version, score, previous_score,
        list_filter(added, lambda one: one.severity IN ('critical', 'high', 'medium')) AS worst
    FROM changes
    WHERE len(worst) > 0
    ORDER BY list_sum(list_transform(worst, lambda one: one.score)) DESC, package LIMIT {limit}
"""
_FINDINGS = """
    CREATE TABLE {table} AS
    SELECT package, type, fingerprint, min(message) AS message, max(score) AS score,
        arg_max(severity, (score, severity)) AS severity
    FROM read_parquet({detections}) GROUP BY package, type, fingerprint
"""
_CHANGES = """
    CREATE TABLE changes AS
    WITH one_sided AS (
        SELECT 'added' AS side, * FROM now ANTI JOIN before USING (package, type, fingerprint)
        UNION ALL
        SELECT 'removed' AS side, * FROM before ANTI JOIN now USING (package, type, fingerprint)
    ), findings AS (
        SELECT package,
            list({{'type': type, 'fingerprint': fingerprint, 'message': message, 'severity': severity, 'score': score}}
                ORDER BY type, fingerprint) FILTER (side = 'added') AS added,
            list({{'type': type, 'fingerprint': fingerprint, 'message': message, 'severity': severity, 'score': score}}
                ORDER BY type, fingerprint) FILTER (side = 'removed') AS removed
        FROM one_sided GROUP BY package
    ), both_scans AS (
        SELECT coalesce(new.package, old.package) AS package,
            CASE WHEN old.package IS NULL THEN 'new'
                WHEN new.package IS NULL THEN 'gone'
                WHEN new.version IS DISTINCT FROM old.version THEN 'version'
                ELSE 'detections' END AS change,
            new.version AS version, old.version AS previous_version,
            CASE WHEN new.frame_length IS NOT NULL THEN new.score END AS score,
            CASE WHEN old.frame_length IS NOT NULL THEN old.score END AS previous_score,
            change = 'new' OR (new.frame_length IS NOT NULL AND old.frame_length IS NOT NULL) AS comparable
        FROM read_parquet({new}) AS new FULL JOIN read_parquet({old}) AS old ON new.package = old.package
    )
    SELECT both_scans.* EXCLUDE (comparable),
        CASE WHEN comparable THEN coalesce(added, []) ELSE [] END AS added,
        CASE WHEN comparable THEN coalesce(removed, []) ELSE [] END AS removed
    FROM both_scans LEFT JOIN findings USING (package)
    WHERE change <> 'detections' OR (comparable AND (len(added) > 0 OR len(removed) > 0))
"""


def write_changes(previous: Path, since: str, dataset: Path, scan_id: str) -> ChangeCounts:
    """Compare the Parquet editions in `dataset` with those in `previous`; write both files into `dataset`.

    `since` and `scan_id` are the ids of the previous scan and of this one.
    """
    with (
        tempfile.TemporaryDirectory(dir=dataset.parent, prefix="changes-") as temporary,
        duckdb_session(Path(temporary)) as database,
    ):
        lines = Path(temporary) / "changes.jsonl"
        for table, directory in (("now", dataset), ("before", previous)):
            database.execute(_FINDINGS.format(table=table, detections=quoted(directory / DETECTIONS)))
        database.execute(_CHANGES.format(new=quoted(dataset / PACKAGES), old=quoted(previous / PACKAGES)))
        database.execute(f"COPY (FROM changes ORDER BY package) TO {quoted(lines)} (FORMAT json)")
        with lines.open("rb") as source, (dataset / CHANGES).open("wb") as target:
            zstandard.ZstdCompressor(level=19, write_checksum=True).copy_stream(source, target)
        found = dict(database.execute("SELECT change, count(*) FROM changes GROUP BY change").fetchall())
        counts = ChangeCounts(since, *(found.get(kind, 0) for kind in _KINDS))
        page = _render(database, counts, scan_id)
    (dataset / CHANGES_PAGE).write_text(page, encoding="utf-8")
    return counts


def _render(database: duckdb.DuckDBPyConnection, counts: ChangeCounts, scan_id: str) -> str:
    result = database.execute(_PAGE_ROWS.format(limit=_ON_PAGE))
    columns = [column[0] for column in result.description or ()]
    rows = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    template = importlib.resources.files("pypi_scan").joinpath("changes.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True)
    return environment.from_string(template).render(counts=counts, scan_id=scan_id, rows=rows, limit=_ON_PAGE)
