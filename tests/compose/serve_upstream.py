"""Serves the demo's upstream to the stack's other containers, by the name that this one has there."""

import signal
from pathlib import Path

from demo.upstream import UpstreamServer

with UpstreamServer(Path("/srv/upstream"), host="upstream", port=8080):
    signal.sigwait([signal.SIGTERM])
