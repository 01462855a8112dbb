"""Links to Inspector stay within the Inspector, whatever a package calls its files."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pypi_scan.monitor.inspector import project_link, source_link

INSPECTOR = "https://inspector.example/base/"
HASH = "0" * 60
FILE = f"packages/ab/cd/{HASH}/six-1.0.tar.gz"
SHOWN = f"https://inspector.example/base/project/six/1.0/{FILE}/"


@pytest.mark.parametrize(
    ("location", "line_no", "link"),
    [
        (f"{FILE}$six-1.0/six.py", 12, SHOWN + "six-1.0/six.py#line.12"),
        (f"{FILE}$six-1.0/six.py", None, SHOWN + "six-1.0/six.py"),
        (f"{FILE}$six-1.0/a b?#%.py", 1, SHOWN + "six-1.0/a%20b%3F%23%25.py#line.1"),
        (f"{FILE}$six-1.0/inner.zip$setup.py", 3, SHOWN),
        (f"{FILE}$../../../../evil", 3, SHOWN),
        (f"{FILE}$//evil.example/x", 3, SHOWN),
        (f"{FILE}${'x' * 5000}", 3, SHOWN),
        (FILE, 3, SHOWN),
        (None, 3, None),
        ("javascript:alert(1)", 1, None),
        ("packages/../../etc/passwd", 1, None),
    ],
)
def test_a_link_leads_to_the_file(location: str | None, line_no: int | None, link: str | None) -> None:
    assert source_link(INSPECTOR, "six", "1.0", location, line_no) == link


@given(version=st.text(), inside=st.text(), line_no=st.none() | st.integers(0))
@example(version="..", inside="x", line_no=None)
@example(version="1.0", inside="a/../b", line_no=1)
@example(version="\ud800", inside="\ud800", line_no=1)
def test_no_name_leads_elsewhere(version: str, inside: str, line_no: int | None) -> None:
    link = source_link(INSPECTOR, "six", version, f"{FILE}${inside}", line_no)
    if link is not None:
        address = urlsplit(link)
        assert link.startswith(project_link(INSPECTOR, "six"))
        assert link.isascii()
        assert not address.query
        assert {"", ".", ".."}.isdisjoint(address.path.strip("/").split("/"))
