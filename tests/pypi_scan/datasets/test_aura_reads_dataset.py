"""Aura's own code downloads aura_dataset.tgz from a web server and answers from it."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pypi_scan import datasets
from pypi_scan.mirror import Mirror

from .steps import build_all

SCANNER_PYTHON = Path(__file__).parents[3] / ".venv-worker/bin/python"

# Aura takes packages from the mirror (AURA_MIRROR_PATH), and everything else from what it downloads.
ASK_AURA = """
import gzip, json, sys, types, urllib.request
from functools import partial
from pathlib import Path
from aura import config, package, typos, update
from aura.analyzers import typosquatting

cdn = sys.argv[1]
update.DATASET_CDN_URL = f"{cdn}/aura_dataset.tgz"
update.update_all()
first = {path.name: path.read_bytes() for path in Path().iterdir()}
update.update_all()

def score(name):
    entries = package.PypiPackage.from_cached(name).score.get_score_matrix()["entries"]
    known = {entry["label"]: entry.get("value", "N/A") for entry in entries}
    return [known["Reverse dependencies"], known["PyPI downloads"]]

def detections(name):
    location = types.SimpleNamespace(metadata={"package_name": name})
    return [[hit.detection_type, hit.extra["package_name"]] for hit in typosquatting.analyze(location=location)]

def squatted():
    with urllib.request.urlopen(f"{cdn}/pypi_package_list.gz") as answer:
        names = gzip.decompress(answer.read()).decode().split()
    pairs = typos.generate_combinations(left=typos.get_popular_packages(), right=names)
    near = typos.enumerator(pairs, partial(typos.damerau_levenshtein, max_distance=1))
    return [[pair["original"], pair["typo"]] for pair in near]

print("ANSWERS" + json.dumps({
    "files": sorted(first),
    "backups": all(Path(f"{name}.bak").read_bytes() == content for name, content in first.items()),
    "dependents": package.get_reverse_dependencies("Markup_Safe"),
    "none": package.get_reverse_dependencies("nobody-needs-this"),
    "stats": [[line["package_name"], line["downloads"]] for line in config.iter_pypi_stats()],
    "popular": typos.get_popular_packages(),
    "typos": typos.check_name("requestss"),
    "detections": detections("requestss"),
    "squatted": squatted(),
    "score": score("markup-safe"),
}))
"""


def document(name: str, requires_dist: list[str] | None) -> bytes:
    """A package's JSON document, with what Aura scores besides the datasets."""
    file = {"filename": f"{name}-1.0.tar.gz", "packagetype": "sdist", "python_version": "source"}
    info = {"name": name, "version": "1.0", "requires_dist": requires_dist}
    return json.dumps({"info": info, "releases": {"1.0": []}, "urls": [file]}).encode()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """URL at which the published datasets are served."""
    public = datasets.public_directory(tmp_path / "datasets")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(public))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def ask_aura(url: str, mirror: Mirror, directory: Path) -> dict[str, object]:
    directory.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory.parent),
        "AURA_MIRROR_PATH": str(mirror.web),
        "AURA_NO_CACHE": "1",
        "AURA_NO_PROGRESS": "1",
    }
    aura = subprocess.run(
        [SCANNER_PYTHON, "-c", ASK_AURA, url],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert aura.returncode == 0, aura.stderr
    answers: dict[str, object] = json.loads(aura.stdout.rpartition("ANSWERS")[2])
    return answers


@pytest.fixture
def mirror(make_mirror: Callable[..., Mirror]) -> Mirror:
    needs = {"flask": ["markup.safe"], "jinja2": ["MARKUP_SAFE>=2"], "markup-safe": None, "requests": None}
    return make_mirror({name: document(name, needs.get(name)) for name in [*needs, "requestss"]})


def test_aura_reads_the_dataset(mirror: Mirror, tmp_path: Path, web: str) -> None:
    stats = tmp_path / "stats.jsonl"
    downloads = {"rare": 100, "markup-safe": 20_000, "requests": 500_000, "requestz": 9_999}
    stats.write_text("".join(json.dumps({"package_name": k, "downloads": v}) + "\n" for k, v in downloads.items()))
    build_all(mirror, tmp_path / "datasets", stats)
    assert ask_aura(web, mirror, tmp_path / "aura") == {
        "files": ["pypi_stats.json", "reverse_dependencies.json"],
        "backups": True,
        "dependents": ["flask", "jinja2"],
        "none": [],
        "stats": [["requests", 500_000], ["markup-safe", 20_000], ["requestz", 9_999], ["rare", 100]],
        "popular": ["requests", "markup-safe"],
        "typos": ["requests"],
        "detections": [["Typosquatting", "requests"]],
        "squatted": [["requests", "requestss"]],
        "score": [2, 20_000],
    }


def test_aura_copes_with_a_dataset_without_statistics(mirror: Mirror, tmp_path: Path, web: str) -> None:
    build_all(mirror, tmp_path / "datasets", None)
    assert ask_aura(web, mirror, tmp_path / "aura") == {
        "files": ["pypi_stats.json", "reverse_dependencies.json"],
        "backups": True,
        "dependents": ["flask", "jinja2"],
        "none": [],
        "stats": [],
        "popular": [],
        "typos": [],
        "detections": [],
        "squatted": [],
        "score": [2, "N/A"],
    }
