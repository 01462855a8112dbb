"""The commands in the documentation, and which of them tests run.

A block of ``sh`` or ``python`` is preceded by a comment: ``<!-- run: dataset -->`` names the place where a test runs
it, ``<!-- needs: internet -->`` what it needs that a test has not.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[1]
PAGES = (PROJECT / "README.md", PROJECT / "SECURITY.md", *sorted((PROJECT / "docs").glob("*.md")))

# Where a test runs blocks. In these files of tests there is a call `blocks("<place>", ...)`.
RUN = {
    "repository": "tests/test_documentation.py",
    "airflow": "tests/dags/test_end_to_end.py",  # where Airflow's database is new
    "dataset": "tests/dags/test_end_to_end.py",  # in a directory with the files of a scan
    "cdn": "tests/dags/test_end_to_end.py",  # with the small world's CDN and scan for those of the examples
    "changes": "tests/dags/test_end_to_end.py",  # in a directory with the files of a scan that is not the first
    "two-scans": "tests/dags/test_end_to_end.py",  # in a directory with a scan in `old` and a later one in `new`
    "backfill": "tests/dags/test_backfill.py",
}
NEEDS = {"internet", "hours", "docker", "root", "a worker", "a host of its own"}

_BLOCK = re.compile(r"^(?:<!-- (run|needs): ([\w -]+) -->\n)?```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of commands or a program; `kind` is run or needs, an empty string if nothing is said of it."""

    kind: str
    what: str
    language: str
    code: str


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    for kind, what, language, code in _BLOCK.findall(text):
        yield Block(kind, what, language, code)


def blocks(place: str, language: str = "sh") -> list[str]:
    """Return the blocks of all pages that are to be run at a place of `RUN`."""
    found = [block for page in PAGES for block in blocks_of(page.read_text(encoding="utf-8"))]
    return [block.code for block in found if (block.kind, block.what, block.language) == ("run", place, language)]


def unexplained(text: str) -> list[str]:
    """Return the blocks of a page that no test runs and that do not say what they need."""
    known = {"run": RUN.keys(), "needs": NEEDS, "": set()}
    return [block.code for block in blocks_of(text) if block.what not in known[block.kind]]


def anchors(text: str) -> set[str]:
    """Return what a link can name in a page: its headings, as forges spell them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    """Return the links of a page, other than to the web, and the pictures in it, that lead nowhere."""
    dead = []
    for link in re.findall(r'(?:\]\(|\bsrc="|\bsrcset=")([^)"\s]+)[)"]', text):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target == page:
            content = text
        elif target.exists():
            content = target.read_text(encoding="utf-8") if anchor else ""
        else:
            dead.append(link)
            continue
        if anchor and anchor not in anchors(content):
            dead.append(link)
    return dead
