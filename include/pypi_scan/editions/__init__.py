"""Editions of a scan's dataset for SQL: ``dataset.sqlite.zst``, ``packages.parquet`` and ``detections.parquet``.

Each shard's records are turned into parts of the editions when they are accepted, while other shards are still being
scanned; packing only merges the parts.
"""
