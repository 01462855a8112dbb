"""Which release was the latest at a moment: a table, and a slow oracle."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from pypi_scan.mirror import PackageDocument, PackageInfo, ReleaseFile
from pypi_scan.release import NotYetPublished, latest_release, uploaded_at

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def file(day: float, *, yanked: bool = False, filename: str = "x.zip") -> ReleaseFile:
    """A file uploaded so many days after START."""
    return ReleaseFile(filename, f"/packages/{filename}", {}, 1, (START + day * DAY).isoformat(), yanked=yanked)


def document(releases: dict[str, list[ReleaseFile]]) -> PackageDocument:
    return PackageDocument(PackageInfo("x"), releases)


def latest(releases: dict[str, list[ReleaseFile]], day: float = 100) -> str | None:
    release = latest_release(document(releases), START + day * DAY)
    return release.version if release else None


@pytest.mark.parametrize(
    ("releases", "version"),
    [
        ({"1.0": [file(0)], "1.10": [file(1)], "1.9": [file(2)]}, "1.10"),
        ({"1.0": [file(9)], "2.0": [file(1)]}, "2.0"),
        ({"1!1.0": [file(0)], "2026.1": [file(1)]}, "1!1.0"),
        ({"1.0": [file(0)], "1.0.post1": [file(1)]}, "1.0.post1"),
        ({"1.0": [file(0)], "1.0+local": [file(1)]}, "1.0+local"),
        ({"1.0": [file(0)], "2.0rc1": [file(1)], "3.0.dev1": [file(2)]}, "1.0"),
        ({"2.0a1": [file(0)], "2.0rc1": [file(1)], "2.0b1": [file(2)]}, "2.0rc1"),
        ({"1.0a1": [file(0)], "1.0": [file(1, yanked=True)]}, "1.0a1"),
        ({"1.0": [file(0)], "2.0": [file(1, yanked=True)]}, "1.0"),
        ({"1.0": [file(0)], "2.0": [file(1, yanked=True), file(2)]}, "2.0"),
        ({"1.0": [file(0)], "2.0": []}, "1.0"),
        ({"1.0": [file(0)], "2004d": [file(1)]}, "1.0"),
        ({"1.0": [file(0)], "9" * 5000: [file(1)]}, "1.0"),
        ({"2004d": [file(0)], "latest": [file(1)]}, None),
        ({"1.0": [file(0, yanked=True)]}, None),
        ({"1.0": []}, None),
        ({}, None),
    ],
)
def test_the_latest_release(releases: dict[str, list[ReleaseFile]], version: str | None) -> None:
    assert latest(releases) == version
    assert latest(dict(reversed(releases.items()))) == version


def test_a_release_has_only_the_files_that_were_there() -> None:
    there, later, yanked = file(1), file(3, filename="later.whl"), file(1, yanked=True)
    release = latest_release(document({"1.0": [there, later, yanked]}), START + 2 * DAY)
    assert release == ("1.0", [there])


def test_a_file_counts_from_the_moment_of_its_upload_on() -> None:
    releases = {"1.0": [file(0)], "2.0": [file(5)]}
    microsecond = timedelta(microseconds=1) / DAY
    assert latest(releases, day=5) == "2.0"
    assert latest(releases, day=5 - microsecond) == "1.0"
    assert latest(releases, day=0) == "1.0"
    with pytest.raises(NotYetPublished):
        latest(releases, day=-microsecond)


def test_published_counts_also_what_cannot_be_chosen() -> None:
    assert latest({"1.0": [file(0, yanked=True)], "2.0": [file(5)]}, day=1) is None
    assert latest({"2004d": [file(0)], "2.0": [file(5)]}, day=1) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-01T00:00:00.000000Z", START),
        ("2026-01-01T00:00:00", START),
        ("2026-01-01T02:00:00+02:00", START),
    ],
)
def test_upload_time(text: str, time: datetime) -> None:
    at = uploaded_at(ReleaseFile("x", "", {}, 1, text))
    assert (at, at.utcoffset()) == (time, timedelta(0))


@pytest.mark.parametrize("text", ["", "yesterday", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_an_upload_time_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|years"):
        uploaded_at(ReleaseFile("x", "", {}, 1, text))


VERSIONS = ["1.0", "1.0.post1", "1.1.dev1", "1.1a1", "1.1", "1.2rc1", "1!0.1", "1!0.2b1", "2004d", "", "9" * 5000]
histories = st.dictionaries(
    st.sampled_from(VERSIONS), st.lists(st.builds(file, st.integers(0, 5), yanked=st.booleans()), max_size=3)
)


def oracle(releases: dict[str, list[ReleaseFile]], as_of: datetime) -> str | None:
    """Ask packaging's own rule for pre-releases, the one pip has, instead of ranking."""
    chosen: dict[Version, str] = {}
    for text, files in releases.items():
        try:
            version = Version(text)
        except (InvalidVersion, ValueError):
            continue
        if [file for file in files if uploaded_at(file) <= as_of and not file.yanked]:
            chosen[version] = text
    allowed = list(SpecifierSet("").filter(chosen))
    for version in allowed:
        if not any(other > version for other in allowed):
            return chosen[version]
    return None


@given(histories, st.integers(-1, 6))
def test_the_oracle_says_the_same(releases: dict[str, list[ReleaseFile]], day: int) -> None:
    as_of = START + day * DAY
    uploads = [uploaded_at(file) for files in releases.values() for file in files]
    if uploads and all(upload > as_of for upload in uploads):
        with pytest.raises(NotYetPublished):
            latest(releases, day)
    else:
        assert latest(releases, day) == oracle(releases, as_of)
