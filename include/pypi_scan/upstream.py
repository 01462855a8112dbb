"""The index that the mirror follows, asked as bandersnatch asks it.

bandersnatch is no library with a stable interface: what is used of it is used in programs that may fail.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from configparser import SectionProxy
from pathlib import Path
from typing import Any

from pypi_scan.sync_errors import SyncError


def upstream(config: SectionProxy) -> Any:
    """Return the upstream (bandersnatch.master.Master) of a bandersnatch configuration's section ``mirror``."""
    from bandersnatch.master import Master

    return Master(
        config["master"],
        config.getfloat("timeout"),
        config.getfloat("global-timeout"),
        config.get("proxy"),
        config.getboolean("allow-non-https"),
    )


def ask(program: str, config_file: Path, question: object = None, pass_fds: Iterable[int] = ()) -> tuple[Any, str]:
    """Run a program of this package, with the JSON of `question` on its standard input.

    Returns what its standard output holds as JSON, and its standard error. Raises SyncError if it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"pypi_scan.{program}", str(config_file)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        errors="replace",
        pass_fds=tuple(pass_fds),
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SyncError(f"upstream could not be asked ({program}): {reason}. The next sync asks again.")
    return json.loads(done.stdout), done.stderr
