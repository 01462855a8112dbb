"""Puts right what bandersnatch keeps in the mirror's directory, before it trips over it.

Of its three small files, ``status`` holds the mirror's serial, ``todo`` an interrupted run's list, ``generation`` the
version of the layout. bandersnatch cannot start with a damaged ``status``, drops a damaged ``todo``, and begins anew
from serial 0 without ``generation``.
"""

import logging
import time
from pathlib import Path

from pypi_scan.mirror import Mirror, MirrorError
from pypi_scan.todo_list import TodoError, read_todo

log = logging.getLogger(__name__)

_GENERATION = "5"  # since bandersnatch 2; nothing that this project has ever used wrote another


def set_aside_damaged(mirror_root: Path) -> None:
    """Rename damaged state files to ``<name>.damaged-<time>``, and log what follows from that.

    The sync then asks upstream for what the list had, or goes through the whole mirror, keeping the files that are
    right. A list without damage is kept when ``status`` is damaged: it leads to the serial all the same.
    """
    try:
        read_todo(mirror_root / "todo")
    except FileNotFoundError:
        pass
    except TodoError as error:
        _set_aside(mirror_root / "todo", f"{error}. Upstream is asked again for what changed since the last good sync")
    try:
        Mirror(mirror_root).serial()
    except MirrorError:
        _set_aside(
            mirror_root / "status",
            f"{mirror_root / 'status'} does not hold a serial number. Unless an interrupted sync left a list, the "
            "whole mirror is gone through, which takes long and keeps the files that are right",
        )
    generation = mirror_root / "generation"
    if (mirror_root / "web").exists() and not _is_number(generation):
        if generation.exists():
            _set_aside(generation, f"{generation} holds no number")
        generation.write_text(_GENERATION, encoding="ascii")
        log.warning("%s was written anew, so that bandersnatch does not begin from serial 0", generation)


def _set_aside(path: Path, what_follows: str) -> None:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    log.warning("%s. What was there is in %s", what_follows, aside)


def _is_number(path: Path) -> bool:
    try:
        return path.read_text(encoding="ascii").strip().isdigit()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
