"""Secrets that a record would quote: out of every published byte, and nothing else with them."""

import base64
import json
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import zstandard

from pypi_scan.record import decode_record
from pypi_scan.redaction_check import quoted_secret

from .conftest import SCRIPTS, Shard, last_line, sdist, wheel
from .patched_scan import scan_with
from .test_scan_shard import records, statuses

# Made up, in no known form, with what has to be written in another way in a URL, in JSON and in Python.
TOKEN = "Qz81vLk3+Nw/Yt60'Rb\"Xe92\\HsCdMf"
PLAIN = "Qz81vLk3NwYt60RbXe92HsCdMfJu47PaTg5i"
SHORT = "hunt3r"
KEY, OTHER_KEY = "0f" * 32, "1e" * 32
PLACE = "packages/aa/bb/x-1.0.tar.gz$x.py"
MARK = re.compile(r"\[redacted: (\d+) characters, hmac-sha256 ([0-9a-f]{16})\]")

Redact = Callable[..., list[dict[str, Any]]]


def leak(secret: object = TOKEN, **changes: object) -> dict[str, Any]:
    """Return a detection of a leaking secret, as Aura has it."""
    return {
        "type": "LeakingSecret",
        "slug": "leakingsecret",
        "score": 0,
        "severity": "high",
        "extra": {"name": "token", "secret": secret, "extra": {"type": "variable"}},
        "line": f"token = {secret!r}",
        "line_no": 1,
        "location": PLACE,
        "message": "Possible sensitive leaking secret",
        "signature": f"leaking_secret#{PLACE}#1",
        **changes,
    }


def other(line: str = "", line_no: int = 9, **changes: object) -> dict[str, Any]:
    """Return a detection of something else, on another line."""
    return {
        "type": "FunctionCall",
        "extra": {"function": "os.system"},
        "line": line,
        "line_no": line_no,
        "location": PLACE,
        "message": "Code is performing system command execution",
        "signature": f"ast_pattern#os_system/9#{PLACE}",
        "tags": ["system_execution"],
        **changes,
    }


PROGRAM = f"""
import json, sys
sys.path.insert(0, {str(SCRIPTS)!r})
import redaction
key = redaction.Key(bytes.fromhex(sys.argv[1]))
print(json.dumps(redaction.redact(json.load(sys.stdin), key)))
"""


def adler32(text: str) -> int:
    """Return the checksum that Aura puts into signatures."""
    return zlib.adler32(text.encode())


@pytest.fixture
def redact(worker_python: Path) -> Redact:
    """Redact detections with a key, as the worker does."""

    def redact(*detections: dict[str, Any], key: str = KEY) -> list[dict[str, Any]]:
        command = [worker_python, "-c", PROGRAM, key]
        done = subprocess.run(command, input=json.dumps(detections), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return redact


def test_a_secret_leaves_its_type_its_length_and_a_hash(redact: Redact) -> None:
    (detection,) = redact(leak())
    mark = detection["extra"]["secret"]
    (found,) = MARK.finditer(mark)
    assert (found[0], int(found[1])) == (mark, len(TOKEN))
    expected = leak(
        extra={"name": "token", "secret": mark, "extra": {"type": "variable"}}, line="token = '" + mark + "'"
    )
    assert detection == expected


def test_the_hash_finds_reuse_and_needs_the_key(redact: Redact) -> None:
    one, again, another = (found["extra"]["secret"] for found in redact(leak(), leak(line_no=2), leak(TOKEN + "x")))
    assert one == again
    assert MARK.fullmatch(one)[2] != MARK.fullmatch(another)[2]  # type: ignore[index]
    (with_other_key,) = redact(leak(), key=OTHER_KEY)
    assert with_other_key["extra"]["secret"] != one


@pytest.mark.parametrize("secret", [SHORT, "admin", "password", ["one-of-1", "five-of-5"]])
def test_a_short_or_common_secret_goes_where_it_is_reported(redact: Redact, secret: Any) -> None:
    (detection,) = redact(leak(secret))
    values = [detection["extra"]["secret"]] if isinstance(secret, str) else detection["extra"]["secret"]
    assert all(MARK.fullmatch(value) for value in values)
    assert not any(text in detection["line"] for text in ([secret] if isinstance(secret, str) else secret))


@pytest.mark.parametrize(
    "line",
    [
        'token = "Qz81vLk3" "Nw60YtRb"',
        'token = f"Qz81vLk3{x}Nw60YtRb"',
        r'token = "\x51z81vLk3Nw60YtRb"',
        "token = 'Qz81vLk3' + 'Nw60YtRb'  # joined",
        'token = """Qz81vLk3Nw60YtRb',
    ],
)
def test_no_literal_is_left_of_a_line_that_has_a_secret_in_it(redact: Redact, line: str) -> None:
    found = redact(leak("Qz81vLk3Nw60YtRb", line=line), other(line, line_no=1))
    for detection in found:
        assert detection["line"].startswith("token = ")
        assert not {"z81vLk3", "Nw60YtRb"} & set(re.findall(r"z81vLk3|Nw60YtRb", detection["line"]))
    assert found[0]["line"] == found[1]["line"]


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        repr(TOKEN)[1:-1],
        json.dumps(TOKEN)[1:-1],
        quote(TOKEN, safe=""),
        re.sub("%..", lambda match: match[0].lower(), quote(TOKEN)),
        TOKEN.encode().hex(),
        "".join(f"\\x{byte:02x}" for byte in TOKEN.encode()),
    ],
)
def test_a_secret_goes_from_all_that_is_quoted_however_it_is_written(redact: Redact, form: str) -> None:
    before = other(
        f"call({form})",
        message=f"cannot do <{form}>",
        extra={"deep": [{"string": f"a{form}b"}], "n": 1},
        signature=f"x#{form}#{PLACE}",
    )
    _, after = redact(leak(), before)
    assert form not in json.dumps(after)
    assert json.dumps(form)[1:-1] not in json.dumps(after)
    assert len(MARK.findall(json.dumps(after))) == 4
    assert after["signature"].endswith(f"#{PLACE}")


@pytest.mark.parametrize("before", ["", "u:", "us:", "user:"])
def test_a_secret_goes_from_what_is_in_base64(redact: Redact, before: str) -> None:
    encoded = base64.b64encode(f"{before}{TOKEN}:after".encode()).decode()
    _, after = redact(leak(), other(f"headers = {encoded}"))
    left = MARK.sub("", after["line"]).removeprefix("headers = ")
    assert MARK.search(after["line"])
    assert len(left) <= len(encoded) - len(TOKEN) * 4 // 3 + 1


def test_a_secret_of_many_lines_goes_from_each_of_them(redact: Redact) -> None:
    lines = ["-----BEGIN KEY-----", "MIIBOgIBAAJBAKj34GkxFhD9", "0vcNLYLInFEX6Ppy1tPf9Cnz", "-----END KEY-----"]
    _, after = redact(leak("\n".join(lines)), other(lines[2]))
    assert MARK.fullmatch(after["line"])


def test_words_stay_where_they_are_no_secrets(redact: Redact) -> None:
    lines = [
        "from environment import x",
        "my_environment = environment",
        "open('admin', environment=1)",
        "f(0x61646d696e)",
    ]
    quoted = "os.system('environment')"
    imported = other(
        "import environment", type="ModuleImport", extra={"name": "environment"}, message="Module 'environment'"
    )
    _, _, *kept, gone, module = redact(
        leak("environment"), leak("admin", line_no=2), *[other(line) for line in lines], other(quoted), imported
    )
    assert [detection["line"] for detection in kept] == lines
    assert MARK.fullmatch(gone["line"][len("os.system('") : -len("')")])
    assert module == imported


def test_where_it_was_found_and_what_it_was_stay(redact: Redact) -> None:
    place = "packages/aa/bb/x-1.0.tar.gz$conf/key-12345678.txt"
    digests = {
        "type": "FileStats",
        "extra": {"md5": "key-12345678.txt", "size": 1},
        "location": place,
        "signature": "x",
    }
    before = other("f()", location=place, signature=f"ast#{place}#9", tags=["key-12345678.txt"])
    before["extra"] = {"taint_log": [{"path": place, "line_no": 9}]}
    _, after, same = redact(leak("key-12345678.txt"), before, digests)
    assert after == before
    assert same == digests


def test_what_reports_no_secret_is_left_alone(redact: Redact) -> None:
    before = [
        other("x = f('http://example.org/a?b=c&token_type=%s')"),
        other("tokenizer = 'bert-base-uncased-v2-2024'"),
        other("connect(f'https://user:{password}@host')"),
        other('password = "required-in-production"'),
        other("get(f'https://host/?token={token_of_user}')"),
    ]
    assert redact(*before) == before


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"get('https://user:{SHORT}@example.org/x')", SHORT),
        (f"get('https://{PLAIN}:x-oauth-basic@example.org/x')", PLAIN),
        (f"git+https://{PLAIN}@example.org/x.git", PLAIN),
        (f"get('https://example.org/x?a=1&api_key={SHORT}')", SHORT),
        (f'run(env={{"API_TOKEN": "{PLAIN}"}})', PLAIN),
        (f"connect(password='{PLAIN}')", PLAIN),
        (f"SECRET: str = '{PLAIN}'", PLAIN),
        (f"curl -H 'Authorization: token ghp_{PLAIN}'", PLAIN),
        ("f('AKIAIOSFODNN7EXAMPLE')", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_what_looks_like_a_secret_by_itself(redact: Redact, line: str, secret: str) -> None:
    (detection,) = redact(other(line))
    assert secret not in detection["line"]
    assert MARK.search(detection["line"])


def test_what_looks_like_a_secret_goes_from_other_detections_too(redact: Redact) -> None:
    string = other(type="HighEntropyString", extra={"string": PLAIN}, signature=f"misc#high_entropy#1a2b3c4d#{PLACE}")
    _, after = redact(other(f'API_TOKEN = "{PLAIN}"'), string)
    assert MARK.fullmatch(after["extra"]["string"])


def test_a_user_who_may_be_a_token_goes_too(redact: Redact) -> None:
    call = {"name": PLAIN, "secret": "api_token", "extra": {"type": "call"}}
    detection, after = redact(leak(extra=call, line=f"HTTPBasicAuth('{PLAIN}', 'api_token')"), other(f"f({PLAIN})"))
    assert MARK.fullmatch(detection["extra"]["name"])
    assert detection["extra"]["extra"] == {"type": "call"}
    assert PLAIN not in json.dumps((detection, after))


def test_credentials_of_a_pypirc(redact: Redact) -> None:
    extra = {"section": "pypi", "username": "lea", "password": SHORT}
    signature = "pypirc#" + format(adler32(f"pypi#lea#{SHORT}"), "x")
    (detection,) = redact({"type": "LeakingPyPIrc", "extra": extra, "location": PLACE, "signature": signature})
    assert detection["extra"]["section"] == "pypi"
    assert MARK.fullmatch(detection["extra"]["username"])
    assert MARK.fullmatch(detection["extra"]["password"])
    assert detection["signature"] != signature


def test_a_checksum_of_a_secret_is_no_way_to_check_a_guess(redact: Redact) -> None:
    checksum = format(adler32(SHORT), "x")
    match = {
        "type": "StringMatch",
        "tags": ["secrets_leak"],
        "extra": {"signature_id": "stripe_standard_key", "string": SHORT},
        "location": PLACE,
        "signature": f"string_finder#stripe_standard_key#{checksum}#{PLACE}:1",
    }
    derived = {
        "type": "SetupScript",
        "location": PLACE,
        "signature": f"setup_analyzer#code_execution#{match['signature']}",
    }
    found = redact(match, derived)
    assert checksum not in json.dumps(found)
    (hashed,) = {MARK.search(found[0]["extra"]["string"])[2][:8]}  # type: ignore[index]
    assert found[0]["signature"] == f"string_finder#stripe_standard_key#{hashed}#{PLACE}:1"
    assert found[0]["extra"]["signature_id"] == "stripe_standard_key"
    assert found[1]["signature"] == f"setup_analyzer#code_execution#{found[0]['signature']}"


def test_a_message_that_was_cut_within_a_secret(redact: Redact) -> None:
    extra = {"analyzer": "x", "exc_type": "ValueError", "exc_message": f"not a number: {TOKEN[:12]}"}
    _, after = redact(leak(), other(type="AnalysisError", extra=extra))
    assert after["extra"]["exc_message"] == f"not a number: {redact(leak())[0]['extra']['secret']}"


def test_the_expression_a_secret_is_given_to(redact: Redact) -> None:
    name = f"Attribute(Arguments(args=['{SHORT}'], defaults=[String(value='{SHORT}')]) . 'password')"
    one, other = redact(leak(SHORT), leak("another", extra={"name": name, "secret": "another"}))
    assert other["extra"]["name"] == name.replace(f"value='{SHORT}'", f"value='{one['extra']['secret']}'")


def test_many_secrets_and_long_texts_take_no_longer_than_they_must(redact: Redact) -> None:
    secrets = [leak(f"{number:08d}-{TOKEN}", line_no=number) for number in range(2000)]
    texts = [other("x" * 200_000), other("pass" * 50_000), other("?" + "pass" * 50_000), other("://a:" * 40_000)]
    assert redact(*secrets, *texts)[-4:] == texts


# --- in a scan


LEAKY = f"""
import base64, os, pickle, requests, subprocess
from requests.auth import HTTPBasicAuth
token = "{PLAIN}"
password = "{SHORT}"
whole_token = "{PLAIN[:9]}" "{PLAIN[9:]}"; os.system("one")
long_token = ("{PLAIN[:9]}"
    "{PLAIN[9:]}")
hex_token = "{"".join(f"{chr(92)}x{byte:02x}" for byte in PLAIN.encode())}"; os.system("two")
decoded_token = base64.b64decode("{base64.b64encode(PLAIN.encode()).decode()}"); os.system("three")
format_token = f"{{os.name}}{PLAIN}"
joined_token = "{PLAIN[:9]}" + "{PLAIN[9:]}"; os.system("four")
percent_token = "%s" % "{PLAIN}"
reversed_token = "{PLAIN[::-1]}"[::-1]; os.system("five")
UPPER_TOKEN = "{PLAIN}"
auth = HTTPBasicAuth("{PLAIN}", "api_token")
if token == "{PLAIN}": os.system("six")
class Client:
    def __init__(self, password="{SHORT}", token="{PLAIN}"):
        self.password = "{SHORT}"
        self.token = "{PLAIN}"
requests.get("https://example.com/api?access_token={PLAIN}&a=%41", verify=False)
requests.get("https://user:{PLAIN}@example.com/api", verify=False)
os.system("curl -H 'Authorization: token {PLAIN}' http://example.com")
eval("open('{PLAIN}')")
cursor.execute("SELECT * FROM t WHERE token='{PLAIN}' and x = " + x)
subprocess.run("x", shell=True, env={{"TOKEN": "{PLAIN}"}})
BLOB = "{base64.b64encode(PLAIN.encode() * 3).decode()}"
data = pickle.loads(b"{PLAIN}")
TEMPORARY = "/tmp/{PLAIN}"
__import__("{PLAIN}")
"""
SETUP = f"""
import os
from setuptools import setup
token = '{PLAIN}'; os.system('{PLAIN}')
setup(name='leaky', description='{PLAIN}', url='https://example.com/?token={PLAIN}')
"""
FILES = {
    "leaky-1.0/leaky.py": LEAKY,
    "leaky-1.0/setup.py": SETUP,
    "leaky-1.0/old.py": f"print 'x'\ntoken = '{PLAIN}'\n",
    "leaky-1.0/.pypirc": f"[pypi]\nusername = __token__\npassword = {PLAIN}\n",
    "leaky-1.0/requirements.txt": f"git+https://{PLAIN}@example.com/x.git\nbad requirement {PLAIN}\n",
    "leaky-1.0/inner.zip": wheel({"inner.py": f"import os\nos.system('{PLAIN}')\n"}),
}
CRASH = f"""
import aura_engine
scan = aura_engine.scan
def fail(name, document):
    if name == "crash":
        raise KeyError({PLAIN!r})
    return scan(name, document)
aura_engine.scan = fail
"""


def everything_in(directory: Path) -> bytes:
    """Return all that lies below `directory`, unpacked."""
    contents = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".zst":
            content = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
        contents.append(content)
    return b"\n".join(contents)


def planted(text: bytes) -> list[str]:
    """Return the forms of the planted secrets, and the large parts of them, that are in `text`."""
    whole = base64.b64encode(PLAIN.encode()).decode()
    forms = [PLAIN[:9], PLAIN[9:], PLAIN[::-1], whole[:40], SHORT]
    forms += ["".join(f"\\\\x{byte:02x}" for byte in PLAIN[:9].encode()), format(zlib.adler32(PLAIN.encode()), "x")]
    return [form for form in forms if form.encode() in text]


@pytest.fixture
def leaky(shard: Shard) -> Shard:
    """A package with a token in many forms, one whose scan crashes with it in the message, and one without it."""
    urls = {"Docs": f"https://user:{PLAIN}@example.com/"}
    shard.add("leaky", {"leaky-1.0.tar.gz": sdist(FILES)}, home_page=f"https://x/?token={PLAIN}", project_urls=urls)
    shard.add("crash", {"crash-1.0-py3-none-any.whl": wheel({"a.py": "import os\n"})})
    shard.add("clean", {"clean-1.0-py3-none-any.whl": wheel({"a.py": "import os\nos.system('true')\n"})})
    return shard


def test_a_planted_token_is_in_no_byte_that_a_scan_leaves(leaky: Shard, worker_python: Path, tmp_path: Path) -> None:
    key = tmp_path / "redaction.key"
    key.write_text(f"{KEY}\n")
    options = {"shard": leaky.write(), "cache": leaky.web.parent}
    kept, redacted = tmp_path / "kept", tmp_path / "redacted"

    done = scan_with(worker_python, CRASH, **options, output=kept)
    assert done.returncode == 0, done.stderr
    assert len(planted(everything_in(kept) + done.stderr.encode())) == 7  # all would be seen
    assert json.loads((kept / "scanner.json").read_text())["settings"]["secrets"] == "kept"

    done = scan_with(worker_python, CRASH, **options, output=redacted, **{"redaction-key": key})
    assert done.returncode == 0, done.stderr
    assert planted(everything_in(redacted) + done.stdout.encode() + done.stderr.encode()) == []
    settings = json.loads((redacted / "scanner.json").read_text())["settings"]
    assert settings["secrets"] == "redacted"
    assert re.fullmatch(r"[0-9a-f]{8}", settings["redaction_key_id"])
    assert KEY not in everything_in(redacted).decode()
    reason = statuses(redacted)["crash"]["reason"]
    assert reason.startswith("KeyError in ")
    assert MARK.search(reason)

    before, after = ({record["pypi"]["name"]: record for record in records(output)} for output in (kept, redacted))
    assert quoted_secret(decode_record(json.dumps(before["leaky"])).detections)
    assert quoted_secret(decode_record(json.dumps(after["leaky"])).detections) is None
    assert after["clean"] == before["clean"]
    assert {name: value for name, value in after["leaky"].items() if name != "detections"} == {
        name: value for name, value in before["leaky"].items() if name != "detections"
    }
    assert found_where(after["leaky"]) == found_where(before["leaky"])
    types = {detection["type"] for detection in after["leaky"]["detections"]}
    assert types >= {"LeakingSecret", "LeakingPyPIrc", "StringMatch", "HighEntropyString", "Base64Blob", "SQLInjection"}


def found_where(record: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return what of the detections is no quotation."""
    names = ("type", "slug", "score", "severity", "location", "line_no", "tags")
    return sorted((tuple(detection.get(name) for name in names) for detection in record["detections"]), key=repr)


def test_the_same_key_makes_the_same_bytes(leaky: Shard, run: Any, tmp_path: Path) -> None:
    key, outputs = tmp_path / "redaction.key", (tmp_path / "one", tmp_path / "other")
    key.write_text(KEY)
    for output in outputs:
        run("scan_shard.py", shard=leaky.write(), cache=leaky.web.parent, output=output, redaction_key=key)
    one, other = ((output / "records.jsonl.zst").read_bytes() for output in outputs)
    assert one == other


def test_another_key_scans_anew(leaky: Shard, run: Any, tmp_path: Path) -> None:
    keys = (tmp_path / "one.key", tmp_path / "other.key")
    contents = []
    for key, digits in zip(keys, (KEY, OTHER_KEY), strict=True):
        key.write_text(digits)
        run("scan_shard.py", shard=leaky.write(), cache=leaky.web.parent, output=tmp_path / "out", redaction_key=key)
        contents.append((tmp_path / "out" / "records.jsonl.zst").read_bytes())
    assert contents[0] != contents[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read"), (b"", "is not 64"), (b"0f" * 31, "is not 64"), (b"\xff" * 64, "cannot be read")],
)
def test_a_key_that_is_none(leaky: Shard, run: Any, tmp_path: Path, content: bytes | None, why: str) -> None:
    key = tmp_path / "redaction.key"
    if content is not None:
        key.write_bytes(content)
    done = run("scan_shard.py", shard=leaky.write(), cache=leaky.web.parent, output=tmp_path / "out", redaction_key=key)
    assert done.returncode == 1
    assert last_line(done).startswith("error: the redaction key redaction.key ")
    assert why in last_line(done)
    assert not (tmp_path / "out" / "records.jsonl.zst").exists()
