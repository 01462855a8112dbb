"""Plans: which packages, and which release of each."""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pypi_scan.mirror import Mirror
from pypi_scan.plan import SCAN_ID, Plan, PlanError, plan_scan, planned_scan_ids, read_plan
from pypi_scan.scan_request import ScanRequest
from pypi_scan.shard import block_size, read_blocks

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
ReadZst = Callable[[Path], list[dict[str, Any]]]


def release_file(name: str, version: str = "1.0", uploaded: str = "2026-01-01", **changes: Any) -> dict[str, Any]:
    """A file as PyPI's JSON has it, with `changes`."""
    digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    filename = f"{name}-{version}.tar.gz"
    return {
        "filename": filename,
        "url": f"https://files.example/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{filename}",
        "digests": {"sha256": digest},
        "size": 1000,
        "upload_time_iso_8601": f"{uploaded}T00:00:00.000000Z",
        **changes,
    }


def document(name: str, releases: dict[str, list[dict[str, Any]]], **info: Any) -> bytes:
    """A package's JSON document."""
    return json.dumps({"info": {"name": name, **info}, "releases": releases, "last_serial": 1}).encode()


class Planner:
    """Plans scans of a mirror into `scans`."""

    def __init__(self, mirror: Mirror, scans: Path, read_zst: ReadZst) -> None:
        self.mirror = mirror
        self.scans = scans
        self._read_zst = read_zst

    def plan(self, as_of: datetime = AS_OF, *, run: str = "run", taken: tuple[str, ...] = (), **asked: Any) -> Plan:
        return plan_scan(self.mirror, ScanRequest(as_of, **asked), self.scans, run, taken=taken)

    def packages(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """The planned releases by name; they are sorted, and every name is there once."""
        lines = self._read_zst(self._releases(plan))
        packages = {line["name"]: line for line in lines}
        assert list(packages) == sorted(packages)
        assert len(packages) == len(lines) == plan.planned
        return packages

    def blocks(self, plan: Plan) -> list[int]:
        """How many packages each block has."""
        return [len(block) for block in read_blocks(self._releases(plan))]

    def versions(self, plan: Plan) -> dict[str, str]:
        return {name: line["version"] for name, line in self.packages(plan).items()}

    def inputs(self, plan: Plan) -> list[str]:
        names = (self.scans / plan.scan_id / "input_packages.txt").read_text().splitlines()
        assert len(names) == plan.input
        return names

    def unscannable(self, plan: Plan) -> dict[str, str]:
        """Name -> status and reason of the packages that are not scanned."""
        lines = (self.scans / plan.scan_id / "unscannable.jsonl").read_bytes().splitlines()
        entries = [json.loads(line) for line in lines]
        return {entry["name"]: f"{entry['status']}: {entry['reason']}" for entry in entries}

    def content(self, plan: Plan) -> bytes:
        return self._releases(plan).read_bytes()

    def _releases(self, plan: Plan) -> Path:
        return self.scans / plan.scan_id / "releases.jsonl.zst"


@pytest.fixture
def planner(make_mirror: Callable[..., Mirror], tmp_path: Path, read_zst: ReadZst) -> Callable[..., Planner]:
    """Make a mirror of {name: JSON document, None for one of a release} and what plans scans of it."""
    return lambda packages: Planner(make_mirror(packages), tmp_path / "scans", read_zst)


MakePlanner = Callable[[dict[str, bytes | None]], Planner]

HISTORY = document(
    "history",
    {
        "1.0": [release_file("history", "1.0", "2025-01-01")],
        "2.0": [release_file("history", "2.0", "2026-01-01")],
        "3.0rc1": [release_file("history", "3.0rc1", "2026-06-01")],
    },
)


def test_as_of_decides_which_release_and_which_packages(planner: MakePlanner) -> None:
    new = document("new", {"1.0": [release_file("new", uploaded="2026-02-01")]})
    plans = planner({"history": HISTORY, "new": new})
    assert plans.versions(plans.plan()) == {"history": "2.0", "new": "1.0"}
    past = plans.plan(datetime(2025, 6, 1, tzinfo=UTC))
    assert plans.versions(past) == {"history": "1.0"}
    assert plans.inputs(past) == ["history"]
    assert plans.unscannable(past) == {}
    assert (past.scan_id, past.as_of) == ("2025-06-01", "2025-06-01T00:00:00Z")
    with pytest.raises(PlanError, match=r"none of the 1 packages asked for .* 2025-06-01 00:00 UTC"):
        plans.plan(datetime(2025, 6, 1, tzinfo=UTC), packages=("new",))


def test_a_plan_is_as_of_the_moment_it_tells(planner: MakePlanner) -> None:
    half = release_file("history", "2.0", upload_time_iso_8601="2026-11-01T00:00:00.500000Z")
    releases = {"1.0": [release_file("history")], "2.0": [half]}
    plans = planner({"history": document("history", releases)})
    plan = plans.plan(AS_OF + timedelta(seconds=0.9), run="a")
    again = plans.plan(datetime.fromisoformat(plan.as_of), run="b")
    assert plans.versions(plan) == plans.versions(again) == {"history": "1.0"}
    assert plans.versions(plans.plan(AS_OF + timedelta(seconds=1), run="c")) == {"history": "2.0"}


def test_absurd_upload_times_are_times_all_the_same(planner: MakePlanner) -> None:
    first, last = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"
    old = document("old", {"1.0": [release_file("old", upload_time_iso_8601=first)]})
    never = document("never", {"1.0": [release_file("never", upload_time_iso_8601=last)]})
    plans = planner({"never": never, "old": old})
    plan = plans.plan(datetime(999, 1, 1, tzinfo=UTC))
    assert plans.inputs(plan) == ["old"]
    assert plans.packages(plan)["old"]["files"][0]["upload_time"] == "0001-01-01T00:00:00Z"
    assert (plan.scan_id, plan.as_of) == ("0999-01-01", "0999-01-01T00:00:00Z")


def test_every_input_package_is_planned_or_has_a_reason(planner: MakePlanner) -> None:
    plans = planner(
        {
            "good": None,
            "no-files": document("no-files", {"1.0": []}),
            "no-releases": document("no-releases", {}),
            "yanked": document("yanked", {"1.0": [release_file("yanked", yanked=True)]}),
            "odd-version": document("odd-version", {"final": [release_file("odd-version", "final")]}),
            "odd-and-yanked": document(
                "odd-and-yanked",
                {"final": [release_file("odd", "final")], "1.0": [release_file("odd", yanked=True)]},
            ),
            "not-json": b"{",
            "later": document("later", {"1.0": [release_file("later", uploaded="2026-12-01")]}),
        }
    )
    plan = plans.plan()
    assert list(plans.packages(plan)) == ["good"]
    assert {name: reason.split(" (")[0] for name, reason in plans.unscannable(plan).items()} == {
        "no-files": "no_release: no file was ever uploaded",
        "no-releases": "no_release: no file was ever uploaded",
        "not-json": "skipped: bad metadata: the mirror's JSON of not-json cannot be read: Input data was truncated",
        "odd-version": "no_release: no release that is not yanked has a version that PEP 440 knows",
        "odd-and-yanked": "no_release: no release that is not yanked has a version that PEP 440 knows",
        "yanked": "no_release: every file is yanked",
    }
    assert plans.inputs(plan) == [
        "good", "no-files", "no-releases", "not-json", "odd-and-yanked", "odd-version", "yanked",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": "https://files.example/packages/%2e%2e/%2e%2e/etc/passwd"}, "unusable component"),
        ({"url": "https://files.example/etc/passwd"}, "not a path below packages/"),
        ({"url": "https://["}, "not a URL"),
        ({"url": "https://files.example/packages/x%00.whl"}, "control character"),
        ({"digests": {}}, "not a sha256"),
        ({"digests": {"sha256": "../../x"}}, "not a sha256"),
        ({"digests": None}, "digests"),
        ({"size": -1}, "size of -1 bytes"),
        ({"size": 2**40}, "size of"),
        ({"size": 10**4000}, "size"),
        ({"size": 1.5}, "size"),
        ({"upload_time_iso_8601": "yesterday"}, "isoformat"),
        ({"upload_time_iso_8601": "0001-01-01T00:00:00+14:00"}, "outside the years"),
        ({"filename": "\ud800"}, "surrogate"),
    ],
)
def test_hostile_metadata_costs_its_package_alone(planner: MakePlanner, changes: dict[str, Any], reason: str) -> None:
    bad = document("bad", {"1.0": [release_file("bad", **changes)]})
    plans = planner({"a": None, "bad": bad, "c": None})
    plan = plans.plan()
    assert list(plans.packages(plan)) == ["a", "c"]
    assert plans.inputs(plan) == ["a", "bad", "c"]
    assert plans.unscannable(plan)["bad"].startswith("skipped: bad metadata: ")
    assert reason in plans.unscannable(plan)["bad"]
    assert len(plans.unscannable(plan)["bad"]) < 500


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (document("good", {"1.0": [release_file("good")]}), "the document is that of 'good'"),
        (document("bad\n", {"1.0": [release_file("bad")]}), "not a valid project name: 'bad\\n'"),
        (
            document("bad", {"1.0": [release_file("bad"), release_file("bad")]}),
            "two files of the release lie at the sam",
        ),
    ],
)
def test_a_document_that_is_not_one_of_its_package(planner: MakePlanner, bad: bytes, reason: str) -> None:
    plans = planner({"bad": bad, "good": None})
    plan = plans.plan()
    assert list(plans.packages(plan)) == ["good"]
    assert reason in plans.unscannable(plan)["bad"]


def test_a_line_of_the_plan(planner: MakePlanner) -> None:
    urls = {"Homepage": "https://example.org"}
    releases = {
        "1.0": [],
        "1.1": [release_file("demo", "1.1", packagetype="sdist", digests={"sha256": "a" * 64, "md5": "b"})],
    }
    plans = planner({"demo": document("Demo", releases, version="9", project_urls=urls, unknown="left out")})
    path = release_file("demo", "1.1")["url"].partition("example/")[2]
    line = plans.packages(plans.plan())["demo"]
    assert line.keys() == {"name", "version", "files", "json"}
    assert line["version"] == "1.1"
    file = {"path": path, "sha256": "a" * 64, "size": 1000, "upload_time": "2026-01-01T00:00:00Z"}
    assert line["files"] == [file]
    assert line["json"]["info"]["name"] == "Demo"
    assert line["json"]["info"]["version"] == "1.1"
    assert line["json"]["info"]["project_urls"] == urls
    assert "unknown" not in line["json"]["info"]
    (listed,) = line["json"]["urls"]
    assert line["json"]["releases"] == {"1.1": [listed]}
    assert listed == {
        "filename": "demo-1.1.tar.gz",
        "url": f"/{path}",
        "packagetype": "sdist",
        "python_version": None,
        "md5_digest": "b",
        "digests": {"sha256": "a" * 64},
        "size": 1000,
        "upload_time_iso_8601": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ((), ["six", "zope-event", "zope-interface", "zopeful"]),
        (("six",), ["six"]),
        (("SIX", "Zope_Event"), ["six", "zope-event"]),
        (("zope.*",), ["zope-event", "zope-interface"]),
        (("Zope*",), ["zope-event", "zope-interface", "zopeful"]),
        (("s?x",), ["six"]),
        (("[sz]*l",), ["zopeful"]),
    ],
)
def test_packages_are_names_or_patterns(planner: MakePlanner, asked: tuple[str, ...], names: list[str]) -> None:
    plans = planner(dict.fromkeys(["six", "zope-event", "zope-interface", "zopeful"]))
    assert plans.inputs(plans.plan(packages=asked)) == names
    assert plans.inputs(plans.plan(packages=asked, limit=1)) == names[:1]


@pytest.mark.parametrize("asked", ["absent", "absent*", "six*six"])
def test_a_name_or_pattern_that_matches_nothing_is_an_error(planner: MakePlanner, asked: str) -> None:
    plans = planner({"six": None})
    with pytest.raises(PlanError, match=re.escape(f"none that is named, or matches, {asked!r}")):
        plans.plan(packages=("six", asked))
    assert not plans.scans.exists()


@pytest.mark.parametrize("asked", [{"packages": ("empty",)}, {"limit": 0}])
def test_nothing_to_scan_is_an_error(planner: MakePlanner, asked: dict[str, Any]) -> None:
    plans = planner({"empty": document("empty", {}), "six": None})
    with pytest.raises(PlanError, match=r"none of the .* packages asked for .* 2026-11-01 00:00 UTC"):
        plans.plan(**asked)
    assert not list(plans.scans.iterdir())


def test_a_mirror_never_synced_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="run the DAG pypi_sync first"):
        plan_scan(Mirror(tmp_path / "mirror"), ScanRequest(AS_OF), tmp_path / "scans", "run")


@pytest.mark.parametrize(
    ("names", "size"), [(1, 1), (127, 1), (128, 2), (8191, 127), (8192, 128), (9000, 128), (700_000, 128)]
)
def test_the_size_of_blocks_follows_from_the_number_of_names(names: int, size: int) -> None:
    assert block_size(names) == size


def test_blocks_are_of_the_packages_to_scan_and_sized_by_all_names(planner: MakePlanner) -> None:
    names = [f"p{number:03}" for number in range(200)]
    packages = {**dict.fromkeys(names), "p001": document("p001", {}), "p002": b"{"}
    plans = planner(packages)
    assert plans.blocks(plans.plan()) == [3] * 66


def test_planning_twice_gives_the_same_bytes(planner: MakePlanner) -> None:
    plans = planner({"history": HISTORY, **dict.fromkeys("abcde")})
    first = plans.plan()
    again = plans.plan(run="other")
    assert again.scan_id != first.scan_id
    assert plans.content(again) == plans.content(first)


def test_a_line_is_canonical_json(planner: MakePlanner) -> None:
    plans = planner(
        {"demo": document("Demo", {"1.0": [release_file("demo")]}, summary="é", project_urls={"b": "", "a": ""})}
    )
    with zstandard.open(plans.scans / plans.plan().scan_id / "releases.jsonl.zst", "rb") as file:
        line = file.read()
    canonical = json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert line.decode() == f"{canonical}\n"


def test_a_scan_id_belongs_to_one_run(planner: MakePlanner) -> None:
    plans = planner({"six": None})
    assert plans.plan(run="a").scan_id == "2026-11-01"
    assert plans.plan(run="b").scan_id == "2026-11-01-2"
    assert plans.plan(run="a").scan_id == "2026-11-01"
    assert plans.plan(run="b").scan_id == "2026-11-01-2"
    assert plans.plan(run="c", taken=("2026-11-01-3", "2026-11-01-4")).scan_id == "2026-11-01-5"
    assert plans.plan(datetime(2026, 11, 2, 23, tzinfo=UTC), run="d", taken=("2026-11-02",)).scan_id == "2026-11-02-2"
    assert all(SCAN_ID.fullmatch(directory.name) for directory in plans.scans.iterdir())


def test_a_run_has_all_scans_that_were_planned_for_it(planner: MakePlanner) -> None:
    plans = planner({"six": None})
    assert planned_scan_ids(plans.scans, "a") == []
    plans.plan(run="a")
    plans.plan(run="b")
    assert plans.plan(run="a", taken=("2026-11-01",)).scan_id == "2026-11-01-3"  # its publication was left half done
    assert planned_scan_ids(plans.scans, "a") == ["2026-11-01", "2026-11-01-3"]
    former = plans.scans / "2026-11-01-2" / "plan.json"
    former.write_text('{"scan_id": "2026-11-01-2", "run_id": "b", "of_another_version": 1}')
    assert planned_scan_ids(plans.scans, "b") == ["2026-11-01-2"]


def test_planning_again_in_vain_leaves_the_former_plan_as_it_was(planner: MakePlanner) -> None:
    plans = planner({"six": None})
    former = plans.plan()
    results = plans.scans / former.scan_id / "results" / "0001"
    results.mkdir(parents=True)
    with pytest.raises(PlanError):
        plans.plan(packages=("absent",))
    assert plans.versions(former) == {"six": "1.0"}
    assert results.exists()


def test_planning_again_leaves_nothing_of_the_former_plan(planner: MakePlanner) -> None:
    plans = planner(dict.fromkeys("abcde"))
    directory = plans.scans / plans.plan().scan_id
    (directory / "results" / "0001").mkdir(parents=True)
    (directory / "division.json").touch()
    plan = plans.plan()
    assert read_plan(directory) == plan
    assert [path.name for path in plans.scans.iterdir()] == [plan.scan_id]
    assert sorted(path.name for path in directory.iterdir()) == [
        "input_packages.txt", "plan.json", "releases.jsonl.zst", "unscannable.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"scan_id": "\xff"}'])
def test_a_plan_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(PlanError, match="no readable plan"):
        read_plan(tmp_path)
