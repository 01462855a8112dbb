"""Alerts reach the log, the file, and a webhook if there is one."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import alerts
from pypi_scan.settings import Settings

LATE = {"dag_run": {"dag_run_id": "scheduled__1"}}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("state", "mirror", "scans"):
        (tmp_path / name).mkdir()
    for name, value in {
        "MIRROR_ROOT": tmp_path / "mirror",
        "STATE_DIR": tmp_path / "state",
        "SCANS_DIR": tmp_path / "scans",
        "MIRROR_SOURCE": tmp_path / "mirror",
        "CDN_BUCKET": "cdn",
        "CDN_PUBLIC_URL": "http://cdn.example",
    }.items():
        monkeypatch.setenv(f"PYPI_SCAN_{name}", str(value))
    return Settings.load()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, str | None]]]:
    """A webhook, which keeps what it is told and by whom."""
    told: list[tuple[Any, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((json.loads(body), self.headers["Authorization"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_port}/hook", "password": "token"}
        monkeypatch.setenv("AIRFLOW_CONN_PYPI_ALERTS", json.dumps(connection))
        yield told
        server.shutdown()


def told(settings: Settings) -> list[tuple[str, str, str]]:
    path = settings.state_dir / alerts.ALERTS
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["alert"], line["about"], line["text"]) for line in map(json.loads, lines)]


def test_a_task_that_failed_for_good(settings: Settings, webhook: list[tuple[Any, str | None]]) -> None:
    task = SimpleNamespace(dag_id="global_scan", run_id="manual__1", task_id="shards.scan", map_index=3)
    alerts.task_failed({"ti": task, "exception": ValueError("no room")})
    assert told(settings) == [("task_failed", "global_scan manual__1 shards.scan [3]", "no room")]
    assert webhook == [({"text": "task_failed: global_scan manual__1 shards.scan [3]: no room"}, "Bearer token")]


def test_an_alert_without_a_webhook_or_with_a_dead_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    alerts.raise_alert("one", "about", "text")
    monkeypatch.setenv("AIRFLOW_CONN_PYPI_ALERTS", json.dumps({"conn_type": "http", "host": "http://127.0.0.1:1/"}))
    alerts.raise_alert("two", "about", "text")
    assert [alert for alert, _, _ in told(settings)] == ["one", "two"]


def test_a_late_sync_is_told_only_while_the_mirror_is_old(settings: Settings) -> None:
    ended, now = settings.state_dir / "last-sync", time.time()
    ended.write_text(f"{now}\n")
    asyncio.run(alerts.sync_late(LATE))  # a run that failed, and another one that succeeded since
    assert told(settings) == []
    ended.write_text(f"{now - 4 * 3600}\n")
    asyncio.run(alerts.sync_late(LATE))
    assert told(settings) == [("sync_late", "scheduled__1", "the last sync that succeeded was 4.0 hours ago")]
    ended.unlink()
    asyncio.run(alerts.sync_late(LATE))
    assert len(told(settings)) == 2


def test_a_late_scan_tells_how_far_it_is(settings: Settings) -> None:
    asyncio.run(alerts.scan_late(LATE))
    assert told(settings) == [("scan_late", "scheduled__1", "0 packages in 0 shards so far")]
