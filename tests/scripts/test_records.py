"""Parts that only odd input reaches, run on their own by the scanner's Python."""

import json
import subprocess
from pathlib import Path
from typing import Any

import zstandard

from .conftest import SCRIPTS


def evaluate(worker_python: Path, module: str, source: str) -> Any:
    """Return the JSON that `source` prints, with `module` of include/scripts imported."""
    program = f"import json, sys\nsys.path.insert(0, {str(SCRIPTS)!r})\nimport {module}\n{source}"
    done = subprocess.run([worker_python, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_records_hold_only_what_json_has(worker_python: Path) -> None:
    source = """
from pathlib import Path
from shard import Package
places = records.Places(Path("/cache/web"), Path("/srv/tmp"), {"unpacked000001": "/cache/web/packages/a/x.whl",
    "unpacked000002": "/cache/web/packages/a/x.whl$deep/y.zip"})
output = {
    "detections": [{"type": "x", "tags": ["b", "a"], "location": "/srv/tmp/unpacked000002/z.py", "extra": {
        "set": {"b", "a"}, "bytes": b"\\xff", "float": float("nan"), "int": 10**5000,
        "tuple": (1, None, True), 3: "key", "other": object(),
        "lone": "\\udcff", "pair": "\\ud83d\\ude00", "whole": "in /srv/tmp/unpacked000001!"}}],
    "imported_modules": ["b", "a"], "tags": {"y", "x"}, "metadata": {"uri_input": {"package_name": "x"}},
    "score": 1, "name": "mirror://x"}
package = Package(1, "x", "1.0", (), {})
print(json.dumps(records.make_record(package, (), output, places, lambda _: None)))
"""
    record = evaluate(worker_python, "records", source)
    assert record["detections"] == [
        {
            "type": "x",
            "tags": ["a", "b"],
            "location": "packages/a/x.whl$deep/y.zip$z.py",
            "extra": {
                "set": ["a", "b"],
                "bytes": "\\xff",
                "float": "nan",
                "int": hex(10**5000),
                "tuple": [1, None, True],
                "3": "key",
                "other": None,
                "lone": "\ufffd",
                "pair": "\U0001f600",
                "whole": "in packages/a/x.whl!",
            },
        }
    ]
    assert (record["imported_modules"], record["tags"]) == (["a", "b"], ["x", "y"])
    assert record["metadata"]["uri_input"] == {"package": "x", "package_name": "x"}


def test_frames_hold_whole_lines_of_one_block(worker_python: Path, tmp_path: Path) -> None:
    target = tmp_path / "records.jsonl.zst"
    source = f"""
lines = [b"%d" % number + b"x" * 3_000_000 + b"\\n" for number in range(7)]
with open({str(target)!r}, "wb") as file:
    file.writelines(records.pack([lines[:4], [], lines[4:]], threads=2))
assert list(records.pack([lines], threads=1)) == list(records.pack([lines], threads=4))
print(len(list(records.pack([], threads=2))))
"""
    assert evaluate(worker_python, "records", source) == 1  # an empty frame: zstd takes no empty file
    data = target.read_bytes()
    sizes, text = [], b""
    while data:
        parameters = zstandard.get_frame_parameters(data)
        assert parameters.has_checksum
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        frame = decompressor.decompress(data)
        assert len(frame) == parameters.content_size
        assert frame.endswith(b"\n")
        sizes.append(frame.count(b"\n"))
        data, text = decompressor.unused_data, text + frame
    assert sizes == [3, 1, 3]
    assert [line[:1] for line in text.splitlines()] == [b"%d" % number for number in range(7)]
