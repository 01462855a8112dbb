"""What the code that scans a package must not be able to do: reach a network, start a process, write where it likes.

Packages are written by attackers, and what opens them, a parser in C among it, has bugs. Three things that the Linux
kernel offers everybody, without a program to install, shut a scan in:

* namespaces: the parent leaves the network (and System V IPC) before it forks a scan, so none ever had them;
* a system call filter (seccomp): a child starts no process and makes no socket, not even one to a local service;
* Landlock: a child writes only below the directory of its own job, and signals nobody else.

None of them is in what a scan finds: a kernel that refuses one makes the scan less safe, not different.
"""

import ctypes
import errno
import functools
import os
import platform
import signal
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

NAMESPACES, FILTER, LANDLOCK = "network namespace", "system call filter", "landlock"

_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x08000000, 0x10000000, 0x40000000, 0x00010000
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: which files root can read stays as it is

# seccomp(2) and classic BPF, see linux/seccomp.h and linux/filter.h
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, of a little-endian machine
_FIRST_X32 = 0x40000000  # from here on the numbers are of a second ABI of x86_64
# machine -> AUDIT_ARCH, seccomp, clone, clone3, and what is refused: fork, vfork, execve, execveat, socket,
# io_uring_setup (it makes sockets too)
_CALLS = {
    "x86_64": (0xC000003E, 317, 56, 435, (57, 58, 59, 322, 41, 425)),
    "aarch64": (0xC00000B7, 277, 220, 435, (221, 281, 198, 425)),  # has no fork and vfork
}

# landlock(7)
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION, _LANDLOCK_RULE_PATH_BENEATH = 1, 1
_FILES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # write, remove and make files and directories
_SPECIAL_FILES = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12  # devices, sockets, pipes, symbolic links
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # since version 2 and 3
_SCOPED = 0b11  # since version 6: abstract sockets and signals

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def enter_namespaces() -> None:
    """Leave the network and System V IPC behind, for this process and its children; raises OSError if refused.

    Without privileges this takes a user namespace, in which the user is who they were before. There must be no second
    thread then.
    """
    flags, user, group = _CLONE_NEWNET | _CLONE_NEWIPC, os.geteuid(), os.getegid()
    if user == 0:
        _call(_libc.unshare, flags)
        return
    _call(_libc.unshare, flags | _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(f"{user} {user} 1".encode())
    Path("/proc/self/gid_map").write_bytes(f"{group} {group} 1".encode())


def confine(directory: Path, without: Collection[str] = ()) -> None:
    """Shut this process in for good, with `directory` to write in; raises OSError if the kernel refuses.

    `without` names what is known to be refused. Root's other privileges go as well, such as to raise its limits.
    """
    _call(_libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if LANDLOCK not in without:
        write_only_below(directory)
    _drop_capabilities()
    if FILTER not in without:
        filter_system_calls()


def write_only_below(directory: Path) -> None:
    """Refuse this process to change files anywhere but below `directory`; raises OSError."""
    version = _system_call(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    allowed = _FILES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled = allowed | _SPECIAL_FILES
    attributes = struct.pack("=QQQ", handled, 0, _SCOPED) if version >= 6 else struct.pack("=Q", handled)
    rules = _system_call(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    beneath = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", allowed, beneath)
        _system_call(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        _system_call(_LANDLOCK_RESTRICT_SELF, rules, 0)
    finally:
        os.close(beneath)
        os.close(rules)


def filter_system_calls() -> None:
    """Refuse this process to start another, or another program, or to make a socket; threads are fine.

    Raises OSError if the kernel has no such filters or the system calls of this machine are not known here.
    """
    if platform.machine() not in _CALLS:
        raise OSError(errno.ENOSYS, f"no list of system calls for {platform.machine()}")
    architecture, seccomp, clone, clone3, denied = _CALLS[platform.machine()]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),  # the two numbers are how many instructions are left out, if so and if not
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _FIRST_X32),
        (_RETURN, 0, 0, _EPERM),
        (_EQUAL, 0, 1, clone3),
        (_RETURN, 0, 0, _ENOSYS),  # its flags are out of sight; the C library takes clone instead
    ]
    for number in denied:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    program += [
        (_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(code))
    # Without the flag older kernels slow down a process that has a filter.
    _system_call(seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, filter_program)


def refused() -> dict[str, str]:
    """Return what this kernel refuses, and why. Each is tried in a process of its own, which ends at once."""
    found = {}
    for name, measure in (
        (NAMESPACES, enter_namespaces),
        (FILTER, functools.partial(confine, Path("/"), {LANDLOCK})),
        (LANDLOCK, functools.partial(confine, Path("/"), {FILTER})),
    ):
        pid = os.fork()
        if pid == 0:
            code = 255
            try:
                measure()
                code = 0
            except OSError as error:
                code = error.errno or code
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            found[name] = os.strerror(code) if code > 0 else signal.Signals(-code).name
    return found


def describe(missing: Mapping[str, str]) -> str:
    """Say in one line what scans are shut in with, and what is `missing`, and why."""
    granted = ", ".join(name for name in (NAMESPACES, FILTER, LANDLOCK) if name not in missing)
    return "; ".join([granted or "none", *(f"no {name}: {reason}" for name, reason in missing.items())])


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)  # twice (effective, permitted, inheritable), the low halves first
    _call(_libc.capget, header, sets)
    low = struct.unpack_from("=II", sets)
    _call(_libc.capset, header, struct.pack("=6I", low[0] & _CAP_DAC, low[1] & _CAP_DAC, 0, 0, 0, 0))


def _system_call(number: int, *arguments: object) -> int:
    return _call(_libc.syscall, number, *arguments)


def _call(function: Callable[..., int], *arguments: object) -> int:
    """Call a C function that says -1 and sets errno where it fails; raises OSError then."""
    whole = (ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments)
    result = function(*whole)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
