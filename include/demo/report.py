"""The report at the end of the demo, read as anyone would read it: over HTTP, from the CDN."""

import hashlib
import heapq
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import zstandard
from rich.console import Console
from rich.table import Table

from demo.processes import DemoError
from demo.world import World


@dataclass(frozen=True)
class Stage:
    """A finished DAG run: its task instances, as Airflow's API describes them."""

    dag_id: str
    tasks: list[dict[str, Any]]

    def seconds_by_task(self) -> dict[str, float]:
        """Return how long each task took, from the first start to the last end of its mapped instances."""
        spans: dict[str, tuple[datetime, datetime]] = {}
        for task in self.tasks:
            if task["start_date"] and task["end_date"]:
                start, end = (datetime.fromisoformat(task[key]) for key in ("start_date", "end_date"))
                first, last = spans.get(task["task_id"], (start, end))
                spans[task["task_id"]] = (min(first, start), max(last, end))
        in_order = sorted(spans.items(), key=lambda item: item[1][0])
        return {task_id: (end - start).total_seconds() for task_id, (start, end) in in_order}


def print_report(console: Console, here: World, stages: list[Stage], scan_id: str) -> None:
    """Download the dataset, check its digests, and print what came out; raises DemoError if it is not as it says."""
    url = f"{here.store.public_url}/pypi_datasets/{scan_id}"
    with httpx.Client(timeout=60.0) as http:
        manifest = json.loads(_download(http, f"{url}/manifest.json"))
        files = {file["name"]: _download(http, f"{url}/{file['name']}") for file in manifest["files"]}
    for file in manifest["files"]:
        if hashlib.sha256(files[file["name"]]).hexdigest() != file["sha256"]:
            raise DemoError(f"{url}/{file['name']} does not have the sha256 its manifest says")

    table = Table(title="Stages", title_justify="left")
    table.add_column("DAG")
    table.add_column("task")
    table.add_column("seconds", justify="right")  # of mapped tasks: from the first start to the last end
    for stage in stages:
        for task_id, seconds in stage.seconds_by_task().items():
            table.add_row(stage.dag_id, task_id, f"{seconds:.1f}")
    console.print()
    console.print(table)

    counts = manifest["counts"]
    console.print(f"\nScan {scan_id}: {counts['input']} packages in, {counts['records']} with a record", markup=False)
    for status in _lines(files["packages.jsonl.zst"]):
        if status["reason"]:
            console.print(f"  {status['name']}: {status['status']}, {status['reason']}", markup=False)

    console.print("\nHighest scores")
    top = heapq.nlargest(3, _lines(files["dataset.zst"]), key=lambda record: (record["score"], record["name"]))
    for record in top:
        types = sorted({detection["type"] for detection in record["detections"] if detection["score"]})
        console.print(f"  {record['score']:6}  {record['pypi']['name']}: {', '.join(types)}", markup=False)

    public = here.root / "cdn"
    console.print(
        f"\nDataset: {public / 'pypi_datasets' / scan_id}\n"
        f"Index:   {public / 'pypi_datasets' / 'index' / 'datasets.html'}\n"
        f"Aura:    {public / 'aura' / 'aura_dataset.tgz'}\n"
        f"On the CDN, while the demo runs: {url}/dataset.zst",
        markup=False,
    )


def _download(http: httpx.Client, url: str) -> bytes:
    answer = http.get(url)
    if answer.is_error:
        raise DemoError(f"{url}: {answer.status_code} {answer.reason_phrase}")
    return answer.content


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
    for line in io.TextIOWrapper(reader, encoding="utf-8"):
        yield json.loads(line)
