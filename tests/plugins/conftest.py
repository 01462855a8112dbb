"""Airflow as a library, without a database, and the plugins where they can be imported."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before anything imports Airflow: it makes a directory there, and must not take the one of whoever runs the tests.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugins"))
