"""A session on a worker: what arrives, what is refused, and what a person reads when it does not work."""

import os
import stat
import threading
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import asyncssh
import pytest

from demo.processes import free_port
from worker_jobs.failures import WorkerError
from worker_jobs.worker import Worker, WorkerSession, worker_session

from .conftest import CONN_ID, Connect

LARGE = 8_000_000


@pytest.fixture
def session(worker: Worker, work_dir: Path):
    with worker_session(worker) as session:
        session.make_dir(worker.work_dir)
        yield session


def sentence(error: pytest.ExceptionInfo[WorkerError]) -> str:
    """Return the message, which must be one line that names the connection."""
    message = str(error.value)
    assert "\n" not in message
    assert CONN_ID in message
    return message


def test_arguments_arrive_as_they_are(session: WorkerSession) -> None:
    arguments = [
        "two words",
        "'",
        '"',
        "$(id)",
        "`id`",
        "$HOME",
        "a\nb",
        "*",
        "~",
        ";exit 3",
        "\\",
        "",
        "-n",
        "naïve 🐍",
    ]
    assert session.run(["printf", r"%s\0", *arguments]).split("\0") == [*arguments, ""]


def test_a_failing_command_gives_its_last_words(session: WorkerSession) -> None:
    with pytest.raises(WorkerError) as error:
        session.run(["bash", "-c", "echo first >&2; echo 'error: the disk is full' >&2; exit 7"])
    assert sentence(error) == f"worker {CONN_ID}: the disk is full (exit code 7)"
    with pytest.raises(WorkerError, match=r"no error message \(exit code 1\)$"):
        session.run(["false"])


def test_a_command_that_goes_silent_is_given_up(session: WorkerSession) -> None:
    with pytest.raises(WorkerError, match="sleep did not answer"):
        session.run(["sleep", "3"], timeout=0.2)
    with pytest.raises(WorkerError, match="bash did not answer"):
        session.run(["bash", "-c", "exec >&- 2>&-; sleep 3"], timeout=0.2)
    assert session.run(["echo", "still", "there"]) == "still there\n"


@pytest.mark.parametrize("redirection", ["", ">&2"])
def test_a_worker_cannot_fill_the_memory_of_the_control_host(session: WorkerSession, redirection: str) -> None:
    with pytest.raises(WorkerError, match="bash wrote more than 1048576 bytes"):
        session.run(["bash", "-c", f"head -c 1500000 /dev/zero {redirection}"])
    with pytest.raises(WorkerError) as error:
        session.run(["bash", "-c", "head -c 100000 /dev/zero >&2; exit 1"])
    assert len(sentence(error)) < 1200


def test_a_file_comes_back_as_it_was_sent(session: WorkerSession, work_dir: Path, tmp_path: Path) -> None:
    for name, content in {"empty": b"", "some": bytes(range(256)) * 5000}.items():
        (tmp_path / name).write_bytes(content)
        session.put(tmp_path / name, session.worker.work_dir / name)
        assert (work_dir / name).read_bytes() == content
        session.get(session.worker.work_dir / name, tmp_path / "back", limit=len(content))
        assert (tmp_path / "back").read_bytes() == content
    assert sorted(path.name for path in work_dir.iterdir()) == ["empty", "some"]


def test_a_file_that_is_put_is_never_seen_half(session: WorkerSession, work_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(os.urandom(LARGE))
    (work_dir / "target").write_bytes(b"old")
    seen, done = set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add((work_dir / "target").stat().st_size)

    watcher = threading.Thread(target=look)
    watcher.start()
    session.put(tmp_path / "new", session.worker.work_dir / "target")
    done.set()
    watcher.join()
    assert seen <= {3, LARGE}
    assert (work_dir / "target").read_bytes() == (tmp_path / "new").read_bytes()


def test_only_regular_files_are_taken(session: WorkerSession, work_dir: Path, tmp_path: Path) -> None:
    (work_dir / "directory").mkdir()
    (work_dir / "link").symlink_to("/etc/passwd")
    os.mkfifo(work_dir / "fifo")
    for name in ("directory", "link", "fifo"):
        with pytest.raises(WorkerError, match=f"{name} is not a regular file"):
            session.get(session.worker.work_dir / name, tmp_path / "taken", limit=10**6)
    with pytest.raises(WorkerError, match=r"nothing cannot be read: .*No such file"):
        session.get(session.worker.work_dir / "nothing", tmp_path / "taken", limit=10**6)
    assert not (tmp_path / "taken").exists()


def test_no_more_than_the_limit_is_taken(session: WorkerSession, work_dir: Path, tmp_path: Path) -> None:
    (work_dir / "file").write_bytes(b"x" * 1001)
    with pytest.raises(WorkerError, match="file is larger than 1000 bytes"):
        session.get(session.worker.work_dir / "file", tmp_path / "taken", limit=1000)
    assert not (tmp_path / "taken").exists()  # its size was enough to refuse it


@pytest.mark.parametrize("claimed", [10, 20_000])
def test_a_file_that_is_not_as_large_as_it_says(
    session: WorkerSession, work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    """It grew after its size was taken, or was cut."""
    (work_dir / "file").write_bytes(b"x" * (LARGE if claimed == 10 else 10))
    found = SimpleNamespace(st_mode=stat.S_IFREG, st_size=claimed)
    monkeypatch.setattr(session._sftp, "lstat", lambda path: found)
    with pytest.raises(WorkerError, match="file changed while it was copied"):
        session.get(session.worker.work_dir / "file", tmp_path / "taken", limit=1_000_000)
    assert (tmp_path / "taken").stat().st_size < 2_000_000


def test_remove_takes_a_directory_with_all_it_holds(session: WorkerSession, work_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (work_dir / "-scans" / "deep").mkdir(parents=True)
    (work_dir / "-scans" / "link").symlink_to(kept)
    session.remove(session.worker.work_dir / "-scans")
    session.remove(session.worker.work_dir / "-scans")
    assert list(work_dir.iterdir()) == []
    assert kept.exists()


def test_remove_stays_below_the_work_dir(session: WorkerSession, work_dir: Path) -> None:
    (work_dir / "scans").mkdir()
    for path in ("", ".", "..", "scans/../..", "scans/..", "/", "/etc"):
        with pytest.raises(ValueError, match="is not below"):
            session.remove(session.worker.work_dir / path)
    assert (work_dir / "scans").exists()


def test_a_connection_that_breaks(session: WorkerSession, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (transport := session._client.get_transport()).close()
    transport.join(5)
    path = session.worker.work_dir / "file"
    for use in (
        lambda: session.run(["true"]),
        lambda: session.put(tmp_path / "file", path),
        lambda: session.get(path, tmp_path / "taken", 10),
    ):
        with pytest.raises(WorkerError) as error:
            use()
        sentence(error)


def fails(worker: Worker) -> str:
    """Open a session, which must fail; return the sentence."""
    with pytest.raises(WorkerError) as error, worker_session(worker) as session:
        session.make_dir(worker.work_dir)
    return sentence(error)


def test_another_host_key_than_the_pinned_one(connect: Connect, work_dir: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    message = fails(connect(extra={"host_key": other}))
    assert "another host key than the one pinned" in message
    assert "put the new key into the connection's extra `host_key`" in message
    assert not work_dir.exists()


def test_a_host_key_that_is_not_known(connect: Connect, work_dir: Path) -> None:
    message = fails(connect(extra={"host_key": None}))
    assert "a host key that is not known here" in message
    assert "put it into the connection's extra `host_key`" in message
    assert not work_dir.exists()


def test_a_key_that_does_not_open_the_worker(connect: Connect, work_dir: Path, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "other_key"))
    worker = connect(extra={"key_file": str(tmp_path / "other_key")})
    assert "does not accept the key of its connection" in fails(worker)
    assert not work_dir.exists()


def test_a_password_is_not_enough(connect: Connect, work_dir: Path) -> None:
    fails(connect(password="worker", extra={"key_file": None}))
    assert not work_dir.exists()


def test_a_worker_that_does_not_listen(connect: Connect) -> None:
    assert "cannot be reached: " in fails(connect(port=free_port()))


@pytest.mark.parametrize(
    "extra",
    [
        {"work_dir": None},
        {"work_dir": "relative/dir"},
        {"work_dir": "/"},
        {"work_dir": "/srv/../etc"},
        {"python": None},
        {"cores": "all"},
        {"cores": -1},
    ],
)
def test_a_connection_that_does_not_describe_a_worker(connect: Connect, extra: dict[str, object]) -> None:
    with pytest.raises(WorkerError) as error:
        connect(extra=extra)
    assert next(iter(extra)) in sentence(error)


def test_a_connection_may_leave_the_cores_out(connect: Connect) -> None:
    worker = connect(extra={"cores": None, "work_dir": "/srv/scan"})
    assert (worker.cores, worker.work_dir) == (None, PurePosixPath("/srv/scan"))
    assert connect(extra={"cores": "4"}).cores == 4
