"""Every command in the documentation is run or says what it needs, and every link leads somewhere."""

import os
import re
import subprocess

import pytest
from tests.documentation import PAGES, PROJECT, RUN, blocks, dead_links, unexplained

from pypi_scan.index.scan_files import ABOUT

named_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@named_page
def test_every_block_is_run_by_a_test_or_says_what_it_needs(page):
    assert unexplained(page.read_text(encoding="utf-8")) == []


def test_every_place_is_one_where_a_test_runs_blocks():
    for place, test in RUN.items():
        assert f'blocks("{place}"' in (PROJECT / test).read_text(encoding="utf-8"), place
        assert blocks(place) or blocks(place, "python"), place


@pytest.mark.parametrize(
    "text",
    [
        "Do:\n\n```sh\nrm -rf /\n```\n",
        "<!-- run: elsewhere -->\n```sh\ntrue\n```\n",
        "<!-- needs: luck -->\n```python\npass\n```\n",
        "<!-- run: dataset -->\n\n```sh\ntrue\n```\n",
    ],
)
def test_a_block_that_nobody_runs_would_be_found(text):
    assert len(unexplained(text)) == 1


@named_page
def test_every_link_leads_somewhere(page):
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_would_be_found():
    page = PROJECT / "docs" / "page.md"
    text = (
        "# A *Page*, here\n[1](#a-page-here) [2](#gone) [3](gone.md) [4](operations.md#alerts) [5](operations.md#gone)"
        '\n<source srcset="images/gone.png"><img alt="6" src="operations.md">'
    )
    assert dead_links(page, text) == ["#gone", "gone.md", "operations.md#gone", "images/gone.png"]


def test_every_page_is_reached_from_the_readme():
    linked = re.findall(r"\]\(([^)#]+)", (PROJECT / "README.md").read_text(encoding="utf-8"))
    assert {path.relative_to(PROJECT).as_posix() for path in PAGES} - {"README.md"} <= set(linked)


def test_every_file_of_a_scan_is_described():
    page = (PROJECT / "docs" / "read-the-data.md").read_text(encoding="utf-8")
    assert [name for name in ABOUT if f"`{name}`" not in page] == []


def test_every_target_of_the_makefile_is_in_the_menu():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    (menu, *_) = blocks("repository")
    printed = run(menu)
    targets = set(phony.replace("\\", "").split())
    assert set(re.findall(r"^  make (\S+) ", printed, re.MULTILINE)) == targets
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", told, re.MULTILINE)) <= targets


@pytest.mark.parametrize("block", blocks("repository"))
def test_commands_in_the_repository(block):
    assert run(block)


def run(block):
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LANG": "C.UTF-8"}
    command = ["bash", "-euo", "pipefail", "-c", block]
    return subprocess.run(command, cwd=PROJECT, env=env, check=True, capture_output=True, text=True).stdout
