"""How often packages are downloaded: fetched every few days from the first source that answers well, and kept.

``source`` is the interface, with one module a source: ``clickhouse``, ``bigquery``, ``top_packages``, ``local_file``.
``refresh`` asks them in order and refuses what cannot be true; ``keep`` is the one file that the datasets are made of.
"""
