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

ASK_AURA = """
import json, sys
from aura import config, package, typos, update

update.DATASET_CDN_URL = sys.argv[1]
update.update_dataset()

def score(name):
    pkg = package.PypiPackage(name, info={"info": {}})
    scores = package.PackageScore(name, package=pkg, fetch_github=False)
    values = scores.score_reverse_dependencies(), scores.score_pypi_downloads()
    return [getattr(value, "value", "N/A") for value in values]

answers = {
    "dependents": package.get_reverse_dependencies("Markup_Safe"),
    "none": package.get_reverse_dependencies("nobody-needs-this"),
    "stats": [[line["package_name"], line["downloads"]] for line in config.iter_pypi_stats()],
    "typos": typos.check_name("requestss"),
    "score": score("markup-safe"),
}
print("ANSWERS" + json.dumps(answers))
"""


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


def ask_aura(url: str, directory: Path) -> dict[str, object]:
    directory.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "AURA_NO_CACHE": "1", "AURA_NO_PROGRESS": "1"}
    aura = subprocess.run(
        [SCANNER_PYTHON, "-c", ASK_AURA, f"{url}/aura_dataset.tgz"],
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


def test_aura_reads_the_dataset(make_mirror: Callable[..., Mirror], tmp_path: Path, web: str) -> None:
    mirror = make_mirror({"flask": ["markup.safe"], "jinja2": ["MARKUP_SAFE>=2"], "markup-safe": None})
    stats = tmp_path / "stats.jsonl"
    downloads = {"rare": 100, "markup-safe": 20_000, "requests": 500_000, "requestz": 9_999}
    stats.write_text("".join(json.dumps({"package_name": k, "downloads": v}) + "\n" for k, v in downloads.items()))
    build_all(mirror, tmp_path / "datasets", stats)
    assert ask_aura(web, tmp_path / "aura") == {
        "dependents": ["flask", "jinja2"],
        "none": [],
        "stats": [["requests", 500_000], ["markup-safe", 20_000], ["requestz", 9_999], ["rare", 100]],
        "typos": ["requests"],
        "score": [2, 20_000],
    }


def test_aura_copes_with_a_dataset_without_statistics(
    make_mirror: Callable[..., Mirror], tmp_path: Path, web: str
) -> None:
    build_all(make_mirror({"flask": ["markup.safe"]}), tmp_path / "datasets", None)
    assert ask_aura(web, tmp_path / "aura") == {
        "dependents": ["flask"],
        "none": [],
        "stats": [],
        "typos": [],
        "score": [1, "N/A"],
    }
