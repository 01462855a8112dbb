"""What lines of bandersnatch's log mean; that its failures really look like this, test_sync shows."""

import pytest

from pypi_scan.bandersnatch_log import BandersnatchLog, Kind

FILE = "packages/ab/cd/ef/demo-1.0.whl"
URL = f"https://upstream.invalid/{FILE}"


def line(message: str, level: str = "INFO") -> str:
    return f"2026-11-01 00:00:00,000 {level}: {message} (mirror.py:1)\n"


def told(*lines: str) -> BandersnatchLog:
    log = BandersnatchLog()
    for text in lines:
        log.feed(text)
    return log


def traceback(message: str, last: str) -> list[str]:
    return [line(message, "ERROR"), "Traceback (most recent call last):\n", "  File x\n", "KeyError: 1\n", f"{last}\n"]


PACKAGE = "Error syncing package: demo@7"


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("aiohttp.client_exceptions.ClientResponseError: 503, message='x', url='u'", Kind.SERVER_ERROR),
        ("aiohttp.client_exceptions.ClientResponseError: 429, message='x', url='u'", Kind.SERVER_ERROR),
        ("aiohttp.client_exceptions.ClientResponseError: 404, message='x', url='u'", Kind.HTTP_ERROR),
        ("aiohttp.client_exceptions.ServerDisconnectedError: Server disconnected", Kind.CUT_OFF),
        ("aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host x:443", Kind.UNREACHABLE),
        ("bandersnatch.errors.StaleMetadata: Stale serial for demo after 3 attempts", Kind.STALE),
        ("bandersnatch.errors.ConnectionTimeout: Connection timeout for demo", Kind.TIMEOUT),
        ("OSError: [Errno 28] No space left on device", Kind.DISK_FULL),
        ("OSError: [Errno 122] Disk quota exceeded: '/srv'", Kind.DISK_FULL),
        ("PermissionError: [Errno 13] Permission denied: '/srv'", Kind.NOT_WRITABLE),
        ("OSError: [Errno 30] Read-only file system: '/srv'", Kind.NOT_WRITABLE),
        ("FileExistsError: [Errno 17] File exists: '/srv/[Errno 28] '", Kind.MALFORMED),
        ("KeyError: 'OSError: [Errno 28] No space left on device'", Kind.MALFORMED),
        ("AssertionError", Kind.MALFORMED),
    ],
)
def test_why_a_package_failed(last: str, kind: Kind) -> None:
    log = told(*traceback(PACKAGE, last), line("Fetching metadata for package: other (serial 1)"), "KeyError: 2\n")
    assert log.packages.keys() == {"demo"}
    assert log.packages["demo"].kind is kind
    assert log.packages["demo"].reason in last


def test_a_disk_that_is_full_when_a_document_is_written_is_the_reason() -> None:
    full = line("Unable to write json to /srv/web/json/demo: [Errno 28] No space left (<class 'OSError'>)", "ERROR")
    log = told(full, *traceback(PACKAGE, "AssertionError"))
    assert log.packages["demo"].kind is Kind.DISK_FULL


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("aiohttp.client_exceptions.ClientResponseError: 404, message='x', url='u'", Kind.FILE_NOT_FOUND),
        (f"ValueError: Inconsistent file. {URL} has hash a instead of b.", Kind.WRONG_DIGEST),
        ("aiohttp.client_exceptions.ClientPayloadError: Response payload is not completed", Kind.CUT_OFF),
    ],
)
def test_why_a_file_failed(last: str, kind: Kind) -> None:
    log = told(*traceback(f"Continuing to next file after error downloading: {URL}", last))
    assert {path: failure.kind for path, failure in log.files.items()} == {FILE: kind}


def test_what_is_counted_and_collected() -> None:
    log = told(
        line("3 packages to sync."),
        line("Fetching metadata for package: a (serial 1)"),
        line("b no longer exists on PyPI"),
        line(f"Downloading: {URL}"),
        line("Downloading: https://upstream.invalid/packages/../../etc/passwd"),
        line("Refused: what is hostile", "WARNING"),
        "\n",
    )
    assert (log.to_sync, log.fetched, log.not_found) == (3, 1, {"b"})
    assert (list(log.begun), log.refused) == ([FILE], ["what is hostile"])
    assert log.last_words() == line("Refused: what is hostile", "WARNING").rstrip()
