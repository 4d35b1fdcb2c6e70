"""What a process gives up before it touches a stranger's graph: memory without end, files, the network, other programs.

Limits of the system (POSIX) are everywhere but on Windows; Landlock (Linux 5.13) closes the file system and, where it is new
enough, the network; a seccomp filter leaves the calls that computing takes, on x86-64 and 64-bit ARM. All of it holds for the
rest of the process's life. Numbers are of the kernel's interface: linux/landlock.h, linux/seccomp.h, linux/filter.h, unistd.h.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # on all architectures
_LANDLOCK_VERSION = 1
_FILES_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files there are; from version 5 on it is 16."""

_COMPUTING = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "sched_yield": 24, "mremap": 25,
        "madvise": 28, "nanosleep": 35, "setitimer": 38, "getpid": 39, "exit": 60, "uname": 63, "gettimeofday": 96,
        "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131, "gettid": 186, "futex": 202,
        "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230,
        "exit_group": 231, "set_robust_list": 273, "getcpu": 309, "getrandom": 318, "membarrier": 324, "rseq": 334,
    },
    "aarch64": {
        "close": 57, "lseek": 62, "read": 63, "write": 64, "pread64": 67, "ppoll": 73, "fstat": 80, "exit": 93, "exit_group": 94,
        "futex": 98, "set_robust_list": 99, "nanosleep": 101, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114,
        "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
        "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "uname": 160, "getrlimit": 163,
        "getrusage": 165, "getcpu": 168, "gettimeofday": 169, "getpid": 172, "gettid": 178, "sysinfo": 179, "brk": 214,
        "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "membarrier": 283,
        "rseq": 293,
    },
}  # fmt: skip
"""The calls that a process which computes on one thread takes, by their numbers: none names a file, a socket, a program or
another process, and none starts a thread."""

_ARCHITECTURES = {
    "x86_64": {
        "audit": 0xC000003E,
        "seccomp": 317,
        "prlimit64": 302,
        "prctl": 157,
        "tgkill": 234,
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "seccomp": 277,
        "prlimit64": 261,
        "prctl": 167,
        "tgkill": 131,
    },
}
_SECCOMP_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM = 1
_PR_SET_NAME = 15
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: a word of the call; a comparison; an end
_CALL, _AUDIT, _FIRST, _SECOND = 0, 4, 16, 24  # where a call's number, its architecture and its arguments lie
_ARGUMENT_HIGH = 4  # the upper half of an argument lies behind the lower


def confine(memory: int) -> list[str]:
    """Give up what computing does not take.

    Args:
        memory: bytes of address space that may come to those in use.

    Returns:
        what is in force, of `limits`, `landlock` and `seccomp`.
    """
    in_force = {"limits": _limits(memory), "landlock": _landlock(), "seccomp": _seccomp()}
    return [name for name, holds in in_force.items() if holds]


def _limits(memory: int) -> bool:
    if sys.platform == "win32":
        return False
    import resource

    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    in_use = _address_space()
    if in_use:
        limits[resource.RLIMIT_AS] = in_use + memory
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))
    return bool(in_use)


def _address_space() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


def _landlock() -> bool:
    """Close the file system, the network and other processes to this thread and those it starts."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return False
    files = (1 << _FILES_OF_VERSION.get(version, 16)) - 1
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    rights = struct.pack("=QQQ", files, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(len(rights)), 0)
    if rules < 0 or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0)


def _seccomp() -> bool:
    """Leave the calls of _COMPUTING to all threads; others fail with EPERM."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES or sys.maxsize < 2**32:
        return False
    numbers = _ARCHITECTURES[machine]
    program = _program(numbers, sorted(_COMPUTING[machine].values()))
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    described = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    return bool(libc.syscall(numbers["seccomp"], _SECCOMP_SET_MODE_FILTER, _ALL_THREADS, described) == 0)


def _program(numbers: dict[str, int], allowed: list[int]) -> list[tuple[int, int, int, int]]:
    """A BPF program of (operation, lines to skip if true, lines to skip if false, number)."""
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)
    program = [
        (_LOAD, 0, 0, _AUDIT),
        (_EQUAL, 1, 0, numbers["audit"]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _CALL),
    ]
    for number in allowed:
        program += [(_EQUAL, 0, 1, number), allow]
    # To abort; never to signal another process.
    program += [(_EQUAL, 0, 4, numbers["tgkill"]), (_LOAD, 0, 0, _FIRST), (_EQUAL, 0, 1, os.getpid()), allow, refuse]
    # A thread's name.
    program += [(_EQUAL, 0, 4, numbers["prctl"]), (_LOAD, 0, 0, _FIRST), (_EQUAL, 0, 1, _PR_SET_NAME), allow, refuse]
    # To ask for a limit of one's own, and not to set it: the process is 0, and the third argument is null.
    third = _SECOND + 8
    program += [
        (_EQUAL, 0, 8, numbers["prlimit64"]),
        *((_LOAD, 0, 0, _FIRST), (_EQUAL, 0, 5, 0)),
        *((_LOAD, 0, 0, third), (_EQUAL, 0, 3, 0)),
        *((_LOAD, 0, 0, third + _ARGUMENT_HIGH), (_EQUAL, 0, 1, 0)),
        allow,
        refuse,
    ]
    return [*program, refuse]
