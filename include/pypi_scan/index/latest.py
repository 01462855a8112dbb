"""``pypi_datasets/latest/``: the newest full scan's small files under names that stay, and a page that leads to it."""

import hashlib

from pypi_scan.index.model import IndexedScan
from pypi_scan.manifest import MANIFEST, SCANS_PREFIX, SIGNATURE
from pypi_scan.pack import README
from pypi_scan.publish import Cdn, PublishError, read_object
from pypi_scan.seal import MD5_CHECKSUMS, SHA256_CHECKSUMS
from pypi_scan.torrent import TORRENT

# The manifest is the last: it names the scan that the others are of.
LATEST_FILES = (README, "package_list.txt", SHA256_CHECKSUMS, MD5_CHECKSUMS, TORRENT, SIGNATURE, MANIFEST)

_LARGEST = 8 << 20  # bytes


def read_latest_files(cdn: Cdn, scan: IndexedScan) -> dict[str, bytes]:
    """Return the contents of those of LATEST_FILES that the scan has and that are small, in that order.

    Raises PublishError if one cannot be read or is not as the index says.
    """
    contents = {}
    for name in LATEST_FILES:
        file = scan.file(name)
        if file is None or file.size > _LARGEST:
            continue
        content = read_object(cdn, f"{SCANS_PREFIX}/{scan.scan_id}/{name}")
        if content is None or hashlib.sha256(content).hexdigest() != file.sha256:
            fault = "missing" if content is None else "not what its manifest says"
            raise PublishError(
                f"{file.url} is {fault}, and the index was left as it is: {name} must be put back as it was published, "
                "then this task can run again"
            )
        contents[name] = content
    return contents
