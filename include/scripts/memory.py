"""How much memory there is for one more child, and what follows from it: what GNU parallel's ``--memfree`` does."""

import enum
import math
import re
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


class Advice(enum.Enum):
    """What to do with the children of a pool."""

    START = "start another"
    WAIT = "start no other"
    KILL = "kill the youngest"


def advice(available: float, wanted: float, running: int) -> Advice:
    """Return what to do while `available` bytes are left, `wanted` are to be, and `running` children use the rest.

    One child always runs, however little there is, so that a scan ends on any machine.
    """
    if running == 0 or available >= wanted:
        return Advice.START
    return Advice.KILL if running > 1 and available < wanted / 2 else Advice.WAIT


def available(meminfo: Path = _MEMINFO, own_cgroup: Path = _OWN_CGROUP, cgroups: Path = _CGROUPS) -> float:
    """Return the bytes that may be used before the machine, or a cgroup (v2) this process is in, swaps or kills."""
    (kib,) = re.findall(r"^MemAvailable:\s*(\d+) kB$", meminfo.read_text(encoding="ascii"), re.MULTILINE)
    found = int(kib) * 1024
    own = re.search(r"^0::/(.*)$", own_cgroup.read_text(encoding="utf-8"), re.MULTILINE)
    if own is None:
        return found
    group = cgroups / own[1]
    limited = [directory for directory in (group, *group.parents) if (directory / "memory.current").is_file()]
    return min([found, *map(_left_in, limited)])


def _left_in(cgroup: Path) -> float:
    limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
    if limit == "max":
        return math.inf
    # The cache of files counts as used, but is given back before anything is killed.
    (cache,) = re.findall(r"^inactive_file (\d+)$", (cgroup / "memory.stat").read_text(encoding="ascii"), re.MULTILINE)
    return max(0, int(limit) - int((cgroup / "memory.current").read_text(encoding="ascii")) + int(cache))
