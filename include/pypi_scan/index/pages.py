"""The index for people: ``datasets.html``, ``README.txt``, the dataset card, and the page that redirects to the newest.

The pages hold no script and load nothing: their Content-Security-Policy forbids both.
"""

import base64
import hashlib
import importlib.resources

import jinja2

from pypi_scan.index.model import Index, IndexedScan
from pypi_scan.index.scan_files import TABLES
from pypi_scan.manifest import MANIFEST

# As dataset hubs name the sizes of datasets: the number of rows is below it.
_SIZE_CATEGORIES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
}


def render_html(index: Index) -> bytes:
    """Return ``datasets.html``."""
    css = importlib.resources.files("pypi_scan.index").joinpath("datasets.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return _render("datasets.html.j2", index=index, css=css, css_digest=digest, manifest=MANIFEST)


def render_readme(index: Index) -> bytes:
    """Return ``README.txt`` of the index."""
    return _render("README.txt.j2", index=index)


def render_card(scan: IndexedScan) -> bytes:
    """Return ``dataset_card.md``: the scan as dataset hubs describe one, their settings in the front matter."""
    tables = {name: columns for name, columns in TABLES.items() if scan.file(name)}
    size = next((label for limit, label in _SIZE_CATEGORIES.items() if scan.packages < limit), "n>10M")
    return _render("dataset_card.md.j2", scan=scan, tables=tables, size_category=size)


def render_redirect(scan: IndexedScan, index: Index) -> bytes:
    """Return the page that leads to the scan's entry in ``datasets.html``.

    Not to the scan's directory: an object store has no page for one.
    """
    return _render("redirect.html.j2", scan=scan, index=index)


def _render(template: str, **values: object) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pypi_scan.index", package_path="."),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = "{:,}".format
    return environment.get_template(template).render(**values).encode()
