"""Which release was the latest at a moment: a table, a slow oracle, and pip itself."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from pip._internal.index.collector import LinkCollector
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.link import Link
from pip._internal.models.search_scope import SearchScope
from pip._internal.models.selection_prefs import SelectionPreferences
from pip._internal.models.target_python import TargetPython
from pip._internal.network.session import PipSession

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
        ({"1.0": [file(0)], "2.0\n": [file(1)], " 3.0": [file(2)]}, "1.0"),
        ({"1.0": [file(0)], "2." + "0." * 1000 + "1": [file(1)]}, "1.0"),
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


def test_spellings_of_a_version_are_one_release() -> None:
    plain, zero, later, yanked = file(1), file(2, filename="z.zip"), file(9), file(1, yanked=True)
    releases = {"1.0.0": [zero, later], "v1": [yanked], "1.0": [plain], "0.9": [file(3)]}
    assert latest_release(document(releases), START + 5 * DAY) == ("1.0", [plain, zero])
    assert latest_release(document(releases), START + 1 * DAY) == ("1.0", [plain])


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


NOW = START + 100 * DAY
MICROSECOND = timedelta(microseconds=1)
PYTHON = TargetPython()
# Few of each, so that versions are often equal, or near each other.
PREFIXES = st.just("") | st.sampled_from(["v", "0!", "1!"])
NUMBERS = st.sampled_from(["1.0", "1", "1.0.0", "1.9", "1.10"])
SUFFIXES = st.just("") | st.sampled_from(
    ["a2", "ALPHA2", "a10", "b2", "rc1", ".dev1", "a2.dev1", ".post1", "-1", ".post1.dev2", "+a", "+1"]
)
versions = st.builds("{}{}{}".format, PREFIXES, NUMBERS, SUFFIXES) | st.sampled_from(["2004d", "latest", "1.0-x-2", ""])
moments = st.builds(lambda unit, count: NOW + count * unit, st.sampled_from([MICROSECOND, DAY]), st.integers(-3, 3))
yanked = st.sampled_from([False, False, False, True])


@st.composite
def iso_8601(draw: st.DrawFn) -> str:
    """An upload time near NOW, in some time zone; with a fraction of a second only if it has one."""
    offset = timezone(draw(st.sampled_from([timedelta(0), timedelta(hours=5, minutes=30), timedelta(hours=-11)])))
    return draw(moments).astimezone(offset).isoformat().replace("+00:00", "Z")


def wheel_name(version: str) -> str:
    """The file name of a wheel, in which a version is in its normal form: elsewise 1.0-1 would be build 1 of 1.0."""
    with suppress(ValueError):
        version = str(Version(version))
    return f"x-{version}-py3-none-any.whl"


@st.composite
def documents(draw: st.DrawFn) -> PackageDocument:
    """A package's document; no two of its files have the same URL."""
    releases: dict[str, list[ReleaseFile]] = {}
    for number, version in enumerate(draw(st.lists(versions, max_size=10))):
        name = draw(st.sampled_from([f"x-{version}.tar.gz", f"x-{version}.zip", wheel_name(version)]))
        url = f"https://files.example/packages/{number}/{name}"
        made = ReleaseFile("x", url, {}, 1, draw(iso_8601()), yanked=draw(yanked))
        releases.setdefault(version, []).append(made)
    for version in draw(st.lists(versions, max_size=2)):
        releases.setdefault(version, [])
    return document(releases)


Outcome = tuple[Version, set[str]] | type[NotYetPublished] | None


def outcome(document: PackageDocument, as_of: datetime) -> Outcome:
    """The version that was found, and the URLs of its files."""
    try:
        release = latest_release(document, as_of)
    except NotYetPublished:
        return NotYetPublished
    if release is None:
        return None
    urls = [file.url for file in release.files]
    assert len(set(urls)) == len(urls)
    return Version(release.version), set(urls)


def oracle(document: PackageDocument, as_of: datetime) -> Outcome:
    """The rule word by word: the version that no other one beats, found by comparing each with each."""
    files = [(text, file) for text, files in document.releases.items() for file in files]
    if files and all(uploaded_at(file) > as_of for _, file in files):
        return NotYetPublished
    there: list[tuple[Version, str]] = []
    for text, file in files:
        with suppress(ValueError):
            if uploaded_at(file) <= as_of and not file.yanked:
                there.append((Version(text), file.url))
    finals = [version for version, _ in there if not version.is_prerelease]
    candidates = finals or [version for version, _ in there]
    for newest in candidates:
        if all(newest >= other for other in candidates):
            return newest, {url for version, url in there if version == newest}
    return None


def pips_choice(document: PackageDocument, as_of: datetime) -> Outcome:
    """What pip's own finder says of an index page with these files, of which it sees those uploaded by `as_of`.

    Nor does it see yanked ones. `pip install` leaves them out only after it has set pre-releases aside, so it finds
    nothing where every final version is yanked and a pre-release is not.
    """
    finder = PackageFinder.create(
        LinkCollector(PipSession(), SearchScope.create([], [], no_index=True)),
        SelectionPreferences(allow_yanked=False, ignore_requires_python=True),
        PYTHON,
        uploaded_prior_to=as_of + MICROSECOND,  # pip leaves out what was uploaded at that moment
    )
    urls: dict[Link, str] = {}
    for file in (file for files in document.releases.values() for file in files):
        entry = {"url": file.url, "upload-time": file.upload_time_iso_8601, "yanked": file.yanked}
        link = Link.from_json({**entry, "requires-python": ">=99"}, "https://index.example/simple/x/")
        assert link is not None
        urls[link] = file.url
    links = finder.evaluate_links(finder.make_link_evaluator("x"), urls)
    found = finder.make_candidate_evaluator("x").compute_best_candidate(links)
    if found.best_candidate is None:
        return None
    best = found.best_candidate.version
    return Version(str(best)), {urls[other.link] for other in found.applicable_candidates if other.version == best}


@given(documents(), moments)
def test_an_oracle_that_takes_the_rule_word_by_word_says_the_same(document: PackageDocument, as_of: datetime) -> None:
    assert outcome(document, as_of) == oracle(document, as_of)


@settings(deadline=None)  # at its first use pip takes its time
@given(documents(), moments)
def test_pip_says_the_same(document: PackageDocument, as_of: datetime) -> None:
    found = outcome(document, as_of)
    assert (None if found is NotYetPublished else found) == pips_choice(document, as_of)


@given(documents(), moments)
def test_what_is_uploaded_later_changes_nothing(document: PackageDocument, as_of: datetime) -> None:
    by_then = {
        text: [file for file in files if uploaded_at(file) <= as_of] for text, files in document.releases.items()
    }
    then = outcome(PackageDocument(document.info, by_then), as_of)
    assert outcome(document, as_of) in (then, NotYetPublished)


@given(documents(), moments, st.randoms())
def test_the_order_of_releases_does_not_matter(document: PackageDocument, as_of: datetime, random: Random) -> None:
    shuffled = list(document.releases.items())
    random.shuffle(shuffled)
    other = PackageDocument(document.info, dict(shuffled))
    assume(outcome(document, as_of) is not NotYetPublished)
    assert latest_release(other, as_of) == latest_release(document, as_of)
