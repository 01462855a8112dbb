"""The faster pieces find what Aura finds: in programs made at random, in real packages, in releases of many files."""

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import SCRIPTS, Shard, sdist, wheel
from .random_programs import Programs

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}  # as scan_shard.py sets it
REAL = ("click", "packaging", "urllib3")  # of which the scanner environment has the source
CODE = '''"""A module whose description is long enough to be unpacked and scanned as if it were a file of its own."""
import os
import sqlite3
from flask import Flask, request
from setuptools import setup

app = Flask(__name__)
password = "hunter2 hunter2"


@app.route("/user/<name>")
def user(name):
    query = "SELECT * FROM users WHERE name = %s" % name
    return sqlite3.connect("x").execute(query), eval(request.args.get("q")), os.system(name)


SCRIPT = """def main():
    import subprocess
    subprocess.run(password, shell=True)  # Python again, which is seen by its looks, and long enough to be looked at
"""
setup(name="x", cmdclass={"install": user})
'''


def script(python: Path, name: str, *arguments: object) -> str:
    """Return what a script of this directory prints, run by the scanner's Python."""
    command = [python, HERE / name, *arguments]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def scan(shard: Shard, run: Any, tmp_path: Path) -> Any:
    """Scan the shard and return its records, as bytes."""

    def scan(output: str, *flags: str) -> bytes:
        done = run(
            "scan_shard.py", *flags, shard=shard.write(), cache=shard.web.parent, output=tmp_path / output, jobs=2
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / output / "records.jsonl.zst").read_bytes()

    return scan


def test_programs_made_at_random(worker_python: Path, tmp_path: Path) -> None:
    programs = Programs(seed=1)
    for number in range(60):
        source = programs.program()
        ast.parse(source)
        (tmp_path / f"p{number:03d}.py").write_text(source, encoding="utf-8")
    faster, aura = (script(worker_python, "analyse_programs.py", mode, tmp_path, SCRIPTS) for mode in ("fast", "stock"))
    assert len(aura.splitlines()) == 60
    assert sum(len(json.loads(line)) for line in aura.splitlines()) > 600  # hits, and a tree each
    assert faster.splitlines() == aura.splitlines()


def test_pieces_one_by_one(worker_python: Path) -> None:
    compared = json.loads(script(worker_python, "compare_pieces.py", SCRIPTS))
    assert compared.keys() == {"entropy", "redos", "ranges", "trees", "scopes", "names"}
    assert min(compared.values()) > 50


def test_real_packages(shard: Shard, scan: Any, worker_python: Path) -> None:
    (libraries,) = (worker_python.parent.parent / "lib").glob("python*/site-packages")
    for name in REAL:
        paths = [path for path in sorted((libraries / name).rglob("*.py")) if 2000 < path.stat().st_size < 12_000][:5]
        files = {str(path.relative_to(libraries)): path.read_bytes() for path in paths}
        assert len(files) >= 3
        half = dict(list(files.items())[::2])
        shard.add(name, {f"{name}-1.0-py3-none-any.whl": wheel(files), f"{name}-1.0.tar.gz": sdist(half)})
    assert scan("faster") == scan("stock", "--stock")


def test_the_same_source_in_many_places(shard: Shard, scan: Any) -> None:
    small = "def f():\n    '''" + "Too small a file to have a TLSH of its own, with a string in it. " * 2 + "'''\n"
    other = CODE.replace("hunter2", "hunter3")
    files = {
        "many-1.0-py3-none-any.whl": wheel(
            {"many/app.py": CODE, "many/copy.py": CODE, "many/setup.py": CODE, "many/small.py": small}
        ),
        "many-1.0-cp311-cp311-win_amd64.whl": wheel(
            {"many/app.py": CODE, "many/other.py": other, "tests/app.py": CODE}
        ),
        "many-1.0.tar.gz": sdist(
            {
                "many-1.0/setup.py": CODE,
                "many-1.0/src/many/app.py": CODE,
                "many-1.0/src/many/small.py": small,
                "many-1.0/inner.zip": wheel({"app.py": CODE}),
            }
        ),
    }
    shard.add("many", files)
    faster = scan("faster")
    assert faster == scan("stock", "--stock")


def test_the_same_source_is_analysed_once(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    modules = {f"p/{name}.py": f"{CODE}\n{name} = 1\n" for name in ("a", "b", "c")}
    wheels = {f"p-1.0-cp3{minor}-none-any.whl": wheel({**modules, "p/x.so": f"{minor}"}) for minor in range(9, 14)}
    shard.add("p", {**wheels, "p-1.0.tar.gz": sdist({f"p-1.0/{name}": code for name, code in modules.items()})})
    directory = tmp_path / "scan"
    directory.mkdir()
    counted = int(script(worker_python, "trees_parsed.py", SCRIPTS, shard.write(), shard.web, directory))
    in_strings = 1  # SCRIPT is Python too, and the same in all of them
    assert counted == len(modules) + in_strings


@pytest.mark.parametrize(
    ("version", "printed"),
    [("2.1", "True\n"), ("2.2", "this is Aura 2.2 and not 2.1: it runs as it is, several times slower\nFalse\n")],
)
def test_only_for_the_version_it_was_written_for(worker_python: Path, version: str, printed: str) -> None:
    program = f"""
import logging, sys
from pathlib import Path
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sys.path.insert(0, {str(SCRIPTS)!r})
import aura_engine
from aura.package_analyzer import Analyzer
before = vars(Analyzer)["run"]
aura_engine.VERSION = {version!r}
aura_engine.prepare(Path(), None)
print(vars(Analyzer)["run"] is not before)
"""
    done = subprocess.run([worker_python, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
