"""What a candidate's process gives up before it runs code that nobody has read.

Four fences, each put up by the process itself and never to be taken down: limits on memory, processor time, files and
processes (POSIX); a clean environment; Landlock, which leaves only the named files to be read and none to be written;
and a seccomp filter, which refuses to fork, to execute, to open sockets, and to signal or trace others. The last two
exist on Linux (x86-64 and ARM); `fence` says which are up, and records carry that.

Standard library only, and no import of ours: it runs in a process that shall know nothing of the evaluation.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_READ_FILE, _READ_DIRECTORY, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_ACCESS_BY_VERSION = (13, 14, 15, 15, 16, 16, 16)
"""How many kinds of access to files each version of Landlock can refuse."""
_NETWORK_SINCE = 4
"""Version of Landlock from which on it refuses to bind and to connect."""

_ARCHITECTURES = {
    # name: (audit number, clone, clone3, what is refused altogether)
    "x86_64": (0xC000003E, 56, 435, (57, 58, 59, 322, 41, 53, 62, 200, 234, 297, 101, 310, 311, 298, 321, 165, 272)),
    "aarch64": (0xC00000B7, 220, 435, (221, 281, 198, 199, 129, 130, 131, 138, 117, 270, 271, 241, 280, 40, 97)),
}
"""Refused: fork, vfork, execve, execveat, socket, socketpair, kill, tkill, tgkill, rt_sigqueueinfo, ptrace,
process_vm_readv, process_vm_writev, perf_event_open, bpf, mount, unshare (ARM has no fork and vfork)."""
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE, _KILL, _UNKNOWN = 0x7FFF0000, 0x00050001, 0x80000000, 0x00050026
"""Verdicts: allow; fail with EPERM; kill; fail with ENOSYS, upon which the C library falls back on `clone`."""


def fence(readable: Iterable[str], memory_bytes: int, cpu_seconds: int) -> list[str]:
    """Put up every fence that this system has; the calling process and its threads stay behind them.

    Args:
        readable: Files and folders that may be read besides Python's own.
        memory_bytes: Most writable memory.
        cpu_seconds: Most processor time.

    Returns:
        Names of the fences that are up: "limits", "files", "calls".
    """
    _limit(memory_bytes, cpu_seconds)
    standing = ["limits"]
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if _fence_files(libc, [*readable, *python_paths()]):
            standing.append("files")
        if _fence_calls(libc):
            standing.append("calls")
    return standing


def python_paths() -> list[str]:
    """Where the interpreter and its packages lie, without sysgym: who judges stays out of sight."""
    found = [sysconfig.get_path("stdlib"), "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null"]
    found += ["/dev/urandom", "/usr/share/zoneinfo", str(Path(sys.base_prefix) / "lib")]
    for packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        entries = os.listdir(packages) if Path(packages).is_dir() else []  # noqa: PTH208  names, not paths
        found += [str(Path(packages) / name) for name in entries if "sysgym" not in name.lower()]
    return found


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    limits = {
        "RLIMIT_DATA": memory_bytes,
        "RLIMIT_CPU": cpu_seconds,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 64,
    }
    for name, most in limits.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            _, hard = resource.getrlimit(kind)
            kept = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (kept, kept))


def _fence_files(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    """Landlock: everything is refused but reading what is named. False where the kernel lacks it."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    handled = (1 << _ACCESS_BY_VERSION[min(version, len(_ACCESS_BY_VERSION)) - 1]) - 1
    network = 3 if version >= _NETWORK_SINCE else 0
    attributes = struct.pack("=QQ", handled, network)[: 16 if network else 8]
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return False
    for path in readable:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # not on this system
            continue
        allowed = (_READ_FILE | _READ_DIRECTORY | _EXECUTE) if Path(path).is_dir() else (_READ_FILE | _EXECUTE)
        libc.syscall(_LANDLOCK_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", allowed, handle), 0)
        os.close(handle)
    restricted = libc.syscall(_LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)
    return bool(restricted == 0)


def _fence_calls(libc: ctypes.CDLL) -> bool:
    """Seccomp: refuse the calls of `_ARCHITECTURES`, and `clone` but for threads. False where it cannot be had."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    audit, clone, clone3, refused = _ARCHITECTURES[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # the architecture of the call
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # its number
        (_EQUAL, 0, 1, clone3),
        (_RETURN, 0, 0, _UNKNOWN),
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, 16),  # its first argument, the flags
        (_BITS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for number in refused:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.c_char_p(header), 0, 0) == 0)
