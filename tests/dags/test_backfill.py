"""Scans of the past by the real scheduler: a backfill over months, a month run again, and runs with a date by hand.

By default the first three months of 2025; BACKFILL_MONTHS=12 (``make backfill-check``) is the whole year.
"""

import hashlib
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import time
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
import zstandard
from packaging.version import InvalidVersion, Version
from tests.documentation import blocks

from demo.airflow_services import PROJECT
from demo.processes import DemoError

pytestmark = pytest.mark.world

MONTHS = [
    datetime(2025, month, 1, 3, tzinfo=UTC) for month in range(1, int(os.environ.get("BACKFILL_MONTHS", "3")) + 1)
]
CONF = {"shards": 1, "package_timeout": 60}
RUN_SECONDS = 120

# What pip would have installed on the first of each month, read off the files of the demo's packages.
BY_HAND = {
    "demo-greeting": ["1.1.0"] * 2 + ["1.2.0"] * 10,
    "demo-withdrawn": ["absent"] + [None] * 11,  # every release is yanked
    "demo-old-versions": [None, None] + ["2025.1"] * 6 + ["1!1.0"] * 4,  # 2004d-final is no version
    "demo-everything": ["absent"] * 2 + ["1"] * 10,
    "demo-retry": ["1.0.0"] + ["1.0.1"] * 11,
    "demo-plugins": ["absent"] * 4 + ["1.0"] * 8,  # 1.1b2, of November, is a pre-release
    "demo-early-access": ["0.1.dev3"] * 9 + ["0.1a1"] * 3,  # nothing but pre-releases
    "demo-table": ["0.1"] * 7 + ["0.2"] * 5,  # 0.3, of October, is yanked
    "demo-truncated": ["absent"] * 5 + ["1.0"] * 7,
    "reqeusts": ["absent"] * 12,  # of 2026
}


def scan_id(month):
    return f"{month:%Y-%m-%d}"


def lines(content):
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
    return [json.loads(line) for line in io.TextIOWrapper(reader, encoding="utf-8")]


class Public:
    """The bucket's directory: what the public can read."""

    def __init__(self, live):
        self.root = live.world.store.directory / live.world.store.bucket

    def read(self, key):
        return (self.root / key).read_bytes()

    def digests(self):
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def index(self):
        return json.loads(self.read("pypi_datasets/index/datasets.json"))["scans"]

    def versions(self, scan):
        """{package: version or None} of every input package of a scan."""
        return {one["name"]: one["version"] for one in lines(self.read(f"pypi_datasets/{scan}/packages.jsonl.zst"))}

    def changes(self, scan):
        """The scan that a scan's changes are told against, and {package: (change, version before, version)}."""
        told = lines(self.read(f"pypi_datasets/{scan}/changes.jsonl.zst"))
        manifest = json.loads(self.read(f"pypi_datasets/{scan}/manifest.json"))
        return manifest["changes"]["since"], {
            line["package"]: (line["change"], line["previous_version"], line["version"]) for line in told
        }


@pytest.fixture(scope="module")
def public(own_live):
    return Public(own_live)


@pytest.fixture(scope="module")
def latest_at(own_live):
    """From a moment to {package: the version pip would have chosen, or None}, of all that had an upload by then."""
    tree = own_live.world.root / "upstream" / "web" / "pypi"
    documents = {path.parent.name: json.loads(path.read_bytes()) for path in tree.glob("*/json")}

    def rank(version):
        try:
            return not Version(version).is_prerelease, Version(version)
        except InvalidVersion:
            return None

    def chosen(releases, now):
        there = {
            version: [file for file in files if file["upload_time_iso_8601"] <= now]
            for version, files in releases.items()
        }
        if any(releases.values()) and not any(there.values()):
            return "absent"
        usable = [version for version, files in there.items() if rank(version) and any(not f["yanked"] for f in files)]
        return max(usable, key=rank, default=None)

    def at(moment):
        now = f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
        answers = {name: chosen(document["releases"], now) for name, document in documents.items()}
        return {name: version for name, version in answers.items() if version != "absent"}

    return at


def backfills(live):
    return live.airflow.request("GET", "/backfills", params={"dag_id": "global_scan"})["backfills"]


def backfill_runs(live):
    return [run for run in live.airflow.runs("global_scan") if run["run_type"] == "backfill"]


@pytest.fixture(scope="module")
def backfill(own_live):
    """The runs of a backfill over MONTHS by the command of the documentation, when all have ended."""
    own_live.run("pypi_sync")
    (command,) = blocks("backfill")
    command = command.replace("2026-01-01", "2025-01-01").replace("2026-06-02", f"{MONTHS[-1]:%Y-%m}-02")
    env = {
        **own_live.world.env,
        "AIRFLOW_HOME": str(own_live.world.root / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    airflow, *arguments = shlex.split(command)
    create = [PROJECT / airflow, *arguments, "--dag-run-conf", json.dumps(CONF)]
    deadline = time.monotonic() + RUN_SECONDS * len(MONTHS)
    while len(runs := backfill_runs(own_live)) < len(MONTHS):
        created = subprocess.run(create, env=env, capture_output=True, text=True)
        # SQLite refuses a write where another process wrote since the read before it; the runs made until then go on.
        assert created.returncode == 0 or "database is locked" in created.stderr, created.stderr
        while not all(one["completed_at"] for one in backfills(own_live)):
            assert time.monotonic() < deadline, "the backfill did not end"
            time.sleep(1.0)
    return runs


def test_every_month_has_a_run_and_no_two_overlap(backfill):
    assert [datetime.fromisoformat(run["logical_date"]) for run in backfill] == MONTHS
    assert {run["state"] for run in backfill} == {"success"}
    assert all(one["end_date"] <= other["start_date"] for one, other in itertools.pairwise(backfill))


def test_every_month_has_a_dataset_of_what_was_the_latest_then(backfill, public, latest_at):
    for number, month in enumerate(MONTHS):
        versions = public.versions(scan_id(month))
        assert versions == latest_at(month)
        assert len(versions) >= 20
        by_hand = {name: history[number] for name, history in BY_HAND.items() if history[number] != "absent"}
        assert {name: versions[name] for name in BY_HAND.keys() & versions.keys()} == by_hand
        assert json.loads(public.read(f"pypi_datasets/{scan_id(month)}/manifest.json"))["as_of"] == f"{month:%FT%TZ}"


def test_changes_are_told_against_the_month_before(backfill, public, latest_at):
    assert json.loads(public.read(f"pypi_datasets/{scan_id(MONTHS[0])}/manifest.json"))["changes"] is None
    for before, month in itertools.pairwise(MONTHS):
        since, told = public.changes(scan_id(month))
        assert since == scan_id(before)
        then, now = latest_at(before), latest_at(month)
        assert then.keys() <= now.keys()
        new = {name: ("new", None, now[name]) for name in now.keys() - then.keys()}
        changed = {name: ("version", then[name], now[name]) for name in then if then[name] != now[name]}
        assert told == new | changed
    assert public.changes("2025-03-01")[1] == {
        "demo-everything": ("new", None, "1"),
        "demo-greeting": ("version", "1.1.0", "1.2.0"),
        "demo-old-versions": ("version", None, "2025.1"),
    }


def test_the_index_is_in_order_of_date(backfill, public):
    newest_first = [scan_id(month) for month in reversed(MONTHS)]
    # A scan by the schedule, if its date has just passed, is none of the past.
    assert [scan["scan_id"] for scan in public.index() if scan["scan_id"] < "2026"] == newest_first
    feed = ET.fromstring(public.read("pypi_datasets/index/feed.xml"))
    titles = [title.text for title in feed.findall("{*}entry/{*}title") if title.text < "Scan 2026"]
    assert titles == [f"Scan {scan}" for scan in newest_first]
    page = public.read("pypi_datasets/index/datasets.html").decode()
    assert re.findall(r'id="(2025-[\d-]+)"', page) == newest_first


def test_running_a_published_month_again_changes_nothing_that_is_public(backfill, public, own_live):
    run_id, before = backfill[1]["dag_run_id"], public.digests()
    own_live.airflow.request("POST", f"/dags/global_scan/dagRuns/{run_id}/clear", json={"dry_run": False})
    *_, tasks = own_live.airflow.follow("global_scan", run_id, RUN_SECONDS)
    assert {task["state"] for task in tasks} == {"skipped"}
    assert public.digests() == before


def test_a_run_by_hand_with_a_date_is_as_a_backfill_of_it_under_another_id(backfill, public, own_live, latest_at):
    before, moment = public.digests(), datetime(2025, 2, 1, 4, tzinfo=UTC)
    run_id = own_live.airflow.trigger("global_scan", CONF, logical_date=moment.isoformat())
    list(own_live.airflow.follow("global_scan", run_id, RUN_SECONDS))
    assert public.versions("2025-02-01-2") == latest_at(moment)
    assert public.changes("2025-02-01-2") == ("2025-02-01", {})
    of_the_backfill = {key: digest for key, digest in before.items() if key.startswith("pypi_datasets/2025")}
    assert of_the_backfill.items() <= public.digests().items()


def test_a_backfill_cannot_scan_one_date_many_times(backfill, own_live):
    body = {"from_date": "2024-12-01T00:00:00Z", "to_date": "2024-12-02T00:00:00Z", "max_active_runs": 1}
    conf = CONF | {"as_of": "2025-01-01T00:00:00Z"}
    own_live.airflow.request("POST", "/backfills", json={"dag_id": "global_scan", "dag_run_conf": conf, **body})
    with pytest.raises(DemoError, match="a backfill scans each of its own dates"):
        list(own_live.airflow.follow("global_scan", "backfill__2024-12-01T03:00:00+00:00", RUN_SECONDS))
