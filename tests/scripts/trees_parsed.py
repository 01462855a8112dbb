# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan the package of a shard and count the syntax trees looked at: trees_parsed.py SCRIPTS SHARD WEB DIRECTORY

Run by the scanner's Python, in DIRECTORY. Prints the number of files for which a tree was made.
"""

import sys
import tempfile
from pathlib import Path

scripts, shard_file, web, directory = sys.argv[1:]
sys.path.insert(0, scripts)

import aura_engine  # noqa: E402
from aura.analyzers import python_src_inspector  # noqa: E402
from mirror_view import visible_document  # noqa: E402
from shard import read_shard  # noqa: E402

aura_engine.prepare(Path(web), None)
tempfile.tempdir = directory
trees = 0
tree_to_dict = python_src_inspector.ast2json


def counted(tree: object) -> object:
    """Make a tree, and count it."""
    global trees
    trees += 1
    return tree_to_dict(tree)


python_src_inspector.ast2json = counted
(package,) = read_shard(Path(shard_file)).packages
aura_engine.scan(package.name, visible_document(package, package.files))
print(trees)
