"""What a scan is kept from. What this machine's kernel does not grant is not asked for here."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import SCRIPTS, Shard, command
from .test_records import evaluate
from .test_scan_shard import SLOW, processes_in, small_shard

NOBODY = 65534
ALL = ["network namespace", "system call filter", "landlock"]
# A child that is shut in finds out what it can do.
TRY = """
import errno, os, resource, socket, threading
from pathlib import Path
directory, outside = place / "job", place / "outside"
if os.geteuid() != user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    isolation._libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as who was that user from the start is
directory.mkdir()
outside.mkdir()
(outside / "there").write_text("content")
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
refused = isolation.refused()
if isolation.NAMESPACES not in refused:
    isolation.enter_namespaces()
def start_thread():
    thread = threading.Thread(target=print, kwargs={"end": ""})
    thread.start()
    thread.join()
def outcome(thing):
    try:
        thing()
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError as error:
        return str(error)
if os.fork() == 0:
    isolation.confine(directory, refused)
    tries = {
        "thread": start_thread,
        "write inside": lambda: (directory / "new").write_text("x"),
        "move inside": lambda: [(directory / "a").mkdir(), (directory / "new").rename(directory / "a" / "moved")],
        "remove inside": lambda: [(directory / "a" / "moved").unlink(), (directory / "a").rmdir()],
        "read outside": lambda: (outside / "there").read_text(),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 1)),
        "fork": lambda: os.fork() or os._exit(0),
        "start a program": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "exit"], {}),
        "become a program": lambda: os.execv("/bin/sh", ["sh", "-c", "exit"]),
        "internet socket": lambda: socket.socket(),
        "local socket": lambda: socket.socket(socket.AF_UNIX),
        "write outside": lambda: (outside / "new").write_text("x"),
        "change outside": lambda: os.truncate(outside / "there", 0),
        "remove outside": lambda: (outside / "there").unlink(),
        "device": lambda: os.mknod(directory / "device", 0o20600, os.makedev(1, 3)),
    }
    found = {name: outcome(thing) for name, thing in tries.items()}
    interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    print(json.dumps({**found, "interfaces": interfaces, "refused": list(refused), "user": os.geteuid()}), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("as_root", [True, False], ids=["root", "ordinary user"])
def test_what_a_child_can_do(worker_python: Path, as_root: bool) -> None:
    if as_root and os.geteuid() != 0:
        pytest.skip("takes root")
    user = 0 if as_root else os.geteuid() or NOBODY
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        source = f"user = {user}\nfrom pathlib import Path\nplace = Path({place!r})\n{TRY}"
        found = evaluate(worker_python, "isolation", source)
        content = (Path(place) / "outside" / "there").read_text()
    assert found["user"] == user
    for name in ("thread", "write inside", "move inside", "remove inside", "read outside"):
        assert found[name] is None, name
    assert found["raise a limit"] == "not allowed to raise maximum limit"
    if "network namespace" not in found["refused"]:
        assert found["interfaces"] == ["lo"]
    if "system call filter" not in found["refused"]:
        for name in ("fork", "start a program", "become a program", "internet socket", "local socket"):
            assert found[name] == "EPERM", name
    if "landlock" not in found["refused"]:
        for name in ("write outside", "change outside", "remove outside", "device"):
            assert found[name] == "EACCES", name
        assert content == "content"


def test_a_child_signals_nobody_else(worker_python: Path) -> None:
    source = """
import os
from pathlib import Path
found = {}
if isolation._system_call(444, None, 0, 1) >= 6:  # the version of Landlock
    if os.fork() == 0:
        isolation.confine(Path("/"), [isolation.FILTER])
        try:
            os.kill(os.getppid(), 0)
        except PermissionError:
            os._exit(0)
        os._exit(1)
    found["exit"] = os.waitstatus_to_exitcode(os.wait()[1])
print(json.dumps(found))
"""
    if "landlock" in evaluate(worker_python, "isolation", "print(json.dumps(list(isolation.refused())))"):
        pytest.skip("this kernel has no Landlock")
    assert evaluate(worker_python, "isolation", source) in ({}, {"exit": 0})


def test_scans_are_shut_in(shard: Shard, worker_python: Path, tmp_path: Path) -> None:
    refused = evaluate(worker_python, "isolation", "print(json.dumps(list(isolation.refused())))")
    shard.add("slow", {"slow-1.0-py3-none-any.whl": SLOW})
    output = tmp_path / "output"
    start = command(worker_python, "scan_shard.py", shard=shard.write(), cache=shard.web.parent, output=output)
    with subprocess.Popen(start, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(output.glob(".work/jobs/*/tmp/*")):  # the scan proper has begun
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.001)
            (pid,) = processes_in(output / ".work" / "jobs")
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            namespace = Path(f"/proc/{pid}/ns/net").readlink()
        finally:
            process.terminate()
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) & ~0b110 == 0
    if "system call filter" not in refused:
        assert status["Seccomp"].strip() == "2"
    if "network namespace" not in refused:
        assert namespace != Path("/proc/self/ns/net").readlink()


def on_a_kernel_that_refuses(refused: list[str], arguments: list[str]) -> list[str]:
    """Return `arguments` as a command line for a kernel that does not grant `refused`: a filter sees to that."""
    source = f"""
import os, sys
sys.path.insert(0, {str(SCRIPTS)!r})
import isolation
never = 2**30 - 1  # no system call
for machine, (architecture, seccomp, *_) in isolation._CALLS.items():
    numbers = dict(zip({ALL}, (272 if machine == "x86_64" else 97, seccomp, 444)))  # the first is unshare
    refused = tuple(numbers[name] for name in {refused})
    isolation._CALLS[machine] = (architecture, seccomp, never, never, refused)
isolation._call(isolation._libc.prctl, isolation._PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
isolation.filter_system_calls()
os.execv(sys.argv[1], sys.argv[1:])
"""
    return [arguments[0], "-c", source, *arguments]


def report(worker_python: Path, refused: list[str]) -> Any:
    check = command(worker_python, "check_worker.py", requirements=SCRIPTS / "requirements.txt")
    done = subprocess.run(on_a_kernel_that_refuses(refused, check), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["isolation"]


def test_a_worker_says_what_its_kernel_grants(worker_python: Path) -> None:
    if evaluate(worker_python, "isolation", "print(json.dumps(list(isolation.refused())))"):
        pytest.skip("this kernel does not grant everything")
    assert report(worker_python, []) == "network namespace, system call filter, landlock"
    assert report(worker_python, ["landlock"]) == (
        "network namespace, system call filter; no landlock: Operation not permitted"
    )
    reasons = "; ".join(f"no {name}: Operation not permitted" for name in ALL)
    assert report(worker_python, ALL) == f"none; {reasons}"


def test_results_do_not_depend_on_the_kernel(shard: Shard, run: Any, worker_python: Path, tmp_path: Path) -> None:
    cache = small_shard(shard).web.parent
    done = run("scan_shard.py", shard=shard.write(), cache=cache, output=tmp_path / "one")
    assert done.returncode == 0, done.stderr
    scan = command(worker_python, "scan_shard.py", shard=shard.file, cache=cache, output=tmp_path / "two")
    done = subprocess.run(on_a_kernel_that_refuses(ALL, scan), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no network namespace: Operation not permitted") == 1
    for name in ("records.jsonl.zst", "scanner.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
