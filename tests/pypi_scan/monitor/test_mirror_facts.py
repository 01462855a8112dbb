"""How the mirror stands, from the small files that syncs leave."""

import pytest

from pypi_scan.monitor.mirror_facts import hours_of_changes, mirror_facts
from pypi_scan.settings import Settings
from pypi_scan.sync_report import PutAside, SyncReport, write_report


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "state").mkdir()
    return Settings(
        mirror_root=tmp_path / "mirror",
        state_dir=tmp_path / "state",
        scans_dir=tmp_path / "scans",
        mirror_source="http://mirror.example",
        cdn_bucket="bucket",
        cdn_public_url="https://cdn.example",
    )


def test_before_the_first_sync_nothing_is_known(settings):
    facts = mirror_facts(settings)
    assert (facts.serial, facts.behind, facts.packages, facts.last_sync, facts.put_aside) == (0, 0, None, None, {})
    assert 0 < facts.disk_used < facts.disk_size


def test_a_sync_that_is_not_done_says_how_far_behind_the_mirror_is(settings):
    (settings.mirror_root / "status").write_text("100")
    (settings.mirror_root / "todo").write_text("130\nrequests 120\n")
    assert mirror_facts(settings).behind == 30
    (settings.mirror_root / "batches").mkdir()
    (settings.mirror_root / "batches" / "end").write_text("700\n")
    assert mirror_facts(settings).behind == 600


def test_damaged_files_do_not_hide_the_rest(settings):
    (settings.mirror_root / "status").write_text("what?")
    settings.sync_report.write_text("{")
    (settings.state_dir / "last-sync").write_text("1795350540\n")
    facts = mirror_facts(settings)
    assert (facts.serial, facts.put_aside, facts.last_sync) == (None, None, 1795350540)


def test_what_is_put_aside_is_counted_by_reason(settings):
    aside = {name: PutAside(name, 1, kind, "x", "2026-11-01", 0, 1) for name, kind in (("a", "stale"), ("b", "stale"))}
    write_report(settings.sync_report, SyncReport(aside))
    assert mirror_facts(settings).put_aside == {"stale": 2}


def test_changes_are_summed_by_hour_and_old_ones_left_out():
    now = 10 * 3600 + 60
    hours = hours_of_changes([(now, 1), (now - 30, 2), (now - 3600, 4), (now - 3 * 3600, 8)], now, 3)
    assert hours == [(8 * 3600, 0), (9 * 3600, 4), (10 * 3600, 3)]
