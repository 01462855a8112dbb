"""What a visitor of the CDN finds first: the index of all published scans, below ``pypi_datasets/index/``.

It is always built anew of what is on the CDN, so it can neither lose a scan nor list one that is not there::

    write_index(cdn, load_index(cdn))

writes ``datasets.json`` and, for people, ``datasets.html``, ``feed.xml`` and ``README.txt``; for the newest full scan
also ``dataset_card.md``, ``croissant.json``, and copies of its small files below ``pypi_datasets/latest/``.
"""

from pypi_scan.index.load import is_published, load_index, published_scan_ids
from pypi_scan.index.write import write_index

__all__ = ["is_published", "load_index", "published_scan_ids", "write_index"]
