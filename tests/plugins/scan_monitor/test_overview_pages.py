"""The overview, asked of Airflow's real API server."""

from datetime import UTC, datetime

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from sqlalchemy import delete


@pytest.fixture
def changes(api_server):
    """Two syncs of this hour that announced changes."""
    with create_session() as session:
        asset = AssetModel(name="pypi_mirror", uri="x-pypi-mirror://local", group="mirror", extra={})
        session.add(asset)
        session.flush()
        for changed in (300, 45):
            session.add(AssetEvent(asset_id=asset.id, extra={"changed": changed}, timestamp=datetime.now(UTC)))
    yield
    with create_session() as session:
        session.execute(delete(AssetEvent))
        session.execute(delete(AssetModel))


def test_an_empty_control_host_says_what_to_do(browse):
    page = browse().get("/scan-monitor/").text
    assert "No scan was planned yet" in page
    assert 'href="/dags/global_scan" target="_top"' in page


def test_it_shows_the_scan_that_runs_and_keeps_fresh(browse, make_scan, airflow_run):
    scan = make_scan({"one": None, "two": None})
    airflow_run("run", "running", {})
    page = browse().get("/scan-monitor/").text
    assert f'<a href="/scan-monitor/scans/{scan.plan.scan_id}">Scan {scan.plan.scan_id}</a>' in page
    assert "0 of 2 packages" in page
    assert "data-refresh" in page


def test_changes_of_the_mirror_are_drawn_by_the_hour(browse, changes):
    page = browse().get("/scan-monitor/").text
    assert "the highest column is 345" in page
    assert ": 345 packages</title>" in page


def test_datasets_are_listed_with_where_they_are_public(browse, control_host):
    public = control_host / "state" / "datasets" / "public"
    public.mkdir(parents=True)
    (public / "pypi_package_list.gz").write_bytes(b"x" * 1_250_000)
    page = browse().get("/scan-monitor/").text
    assert 'href="https://cdn.example/aura/pypi_package_list.gz" target="_blank" rel="noopener noreferrer"' in page
    assert "1.25 MB" in page
