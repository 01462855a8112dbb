"""Airflow as a library in a home of its own, and the plugins where it and the tests find them."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before anything imports Airflow: it makes a directory there, and must not take the one of whoever runs the tests.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
os.environ |= {"AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
sys.path.insert(0, str(PLUGINS))
