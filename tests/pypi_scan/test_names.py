"""What upstream may be called, and where its files may lie."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypi_scan.names import HostileInputError, canonical_name, check_mirror_path, check_sha256, mirror_path

ROOT = Path("/mirror/web")
# Strings in which the pieces of an attack meet more often than chance would have it.
PIECES = ["packages", "/", "//", ".", "..", "%2e", "%2F", "%00", "%", "\\", "\n", "\ud800", "a", "é", "?", ";", "["]
urls = st.one_of(st.text(st.characters()), st.lists(st.sampled_from(PIECES)).map("".join))


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("six", "six"),
        ("Zope.Interface", "zope-interface"),
        ("A--_.b", "a-b"),
        ("0", "0"),
        ("x" * 255, "x" * 255),
    ],
)
def test_canonical_name(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "six\n",
        "six ",
        "-six",
        "six-",
        "s\N{CYRILLIC SMALL LETTER I}x",
        "\N{KELVIN SIGN}it",  # in lower case it is an ASCII k
        "a\ud800",
        "$(id)",
        "{{ conf }}",
        "x" * 256,
    ],
)
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(HostileInputError, match="project name"):
        canonical_name(name)


def test_a_refused_name_is_quoted_in_part() -> None:
    with pytest.raises(HostileInputError) as refused:
        canonical_name("\n" * 10**6)
    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


@given(st.text(st.characters()))
def test_a_canonical_name_stays_as_it_is_and_is_one_component(name: str) -> None:
    try:
        canonical = canonical_name(name)
    except HostileInputError:
        return
    assert canonical_name(canonical) == canonical
    assert PurePosixPath(canonical).parts == (canonical,)
    assert canonical.isascii()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://files.example/packages/ab/cd/x-1.0.tar.gz", "packages/ab/cd/x-1.0.tar.gz"),
        ("http://127.0.0.1:8080/packages/x.whl?a=/../b#sha256=c", "packages/x.whl"),
        ("/packages/x.whl", "packages/x.whl"),
        ("https://files.example/packages/demo-1%211.0.zip", "packages/demo-1!1.0.zip"),
        ("https://files.example/packages/caf%C3%A9.zip", "packages/café.zip"),
    ],
)
def test_mirror_path(url: str, path: str) -> None:
    assert mirror_path(url) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x.whl",
        "packages",
        "packages/",
        "packagesx/x.whl",
        "simple/../packages/x.whl",
        "packages/../../etc/passwd",
        "packages/%2e%2e/%2E%2e/etc/passwd",
        "packages/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "%2e%2e/packages/x.whl",
        "packages//x.whl",
        "packages/%2fetc/passwd",
        "packages/./x.whl",
        "packages/x%00.whl",
        "packages/x%0a.whl",
        "packages/x%7f.whl",
        "packages/x%c2%85.whl",
        "packages/x%5c..%5cy.whl",
        "packages/x\N{RIGHT-TO-LEFT OVERRIDE}lhw.zip",
        "packages/x%e2%80%a8.whl",  # a line separator
        "packages/\N{ZERO WIDTH SPACE}x.whl",
        "packages/x\ud800.whl",
        f"packages/{'é' * 128}",
        "packages/" + "/".join(["ab"] * 400),
    ],
)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(HostileInputError, match="path"):
        mirror_path(f"https://files.example/{path}")


@pytest.mark.parametrize("url", ["https://[", "https://[x]/packages/y", "https://a\N{ACCOUNT OF}/packages/y"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(HostileInputError, match="not a URL"):
        mirror_path(url)


@given(urls.map("https://files.example/packages/".__add__) | urls)
def test_no_url_leads_out_of_the_packages(url: str) -> None:
    try:
        path = mirror_path(url)
    except HostileInputError:
        return
    joined = ROOT / path
    assert joined.resolve().is_relative_to(ROOT / "packages")
    assert str(joined.resolve()) == f"{ROOT}/{path}"
    assert check_mirror_path(path) == path
    path.encode()


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", "٠" * 64])
def test_only_a_sha256_is_a_sha256(digest: str) -> None:
    assert check_sha256("0123456789abcdef" * 4) == "0123456789abcdef" * 4
    with pytest.raises(HostileInputError, match="sha256"):
        check_sha256(digest)
