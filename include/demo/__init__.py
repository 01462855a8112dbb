"""A small real world: an upstream PyPI, a worker reached over SSH, an object store, and Airflow between them.

Everything listens on 127.0.0.1, keeps its state below one directory and ends with the process that made it.
"""
