"""Calls of the system that a process gives up for good, by a filter in the kernel (seccomp).

It needs no privilege and no namespace, so it holds in containers too.
"""

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Mapping, Sequence

# By the machine, as `AUDIT_ARCH` names it. The order within a line is that of the comment above it; ARM has fewer.
_X86_64, _AARCH64 = 0xC000003E, 0xC00000B7
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}
REACHING_OUT = {
    _X86_64: (
        # socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg
        *(41, 53, 42, 49, 50, 43, 288, 44, 46, 307),
        # ptrace process_vm_readv process_vm_writev kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open
        # pidfd_getfd pidfd_send_signal prlimit64 setpriority sched_setscheduler sched_setaffinity
        *(101, 310, 311, 62, 200, 234, 129, 297, 434, 438, 424, 302, 141, 144, 203),
        # fork vfork clone clone3 execve execveat
        *(57, 58, 56, 435, 59, 322),
        # unshare setns mount bpf perf_event_open userfaultfd io_uring_setup io_uring_enter add_key request_key keyctl
        *(272, 308, 165, 321, 298, 323, 425, 426, 248, 249, 250),
    ),
    _AARCH64: (
        *(198, 199, 203, 200, 201, 202, 242, 206, 211, 269),
        *(117, 270, 271, 129, 130, 131, 138, 240, 434, 438, 424, 261, 140, 119, 122),
        *(220, 435, 221, 281),
        *(97, 268, 40, 280, 241, 282, 425, 426, 217, 218, 219),
    ),
}
FILES = {
    _X86_64: (
        # open openat openat2 open_by_handle_at creat truncate
        *(2, 257, 437, 304, 85, 76),
        # rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat symlink symlinkat
        *(82, 264, 316, 83, 258, 84, 86, 265, 87, 263, 88, 266),
        # chmod fchmodat chown lchown fchownat mknod mknodat setxattr lsetxattr utimensat
        *(90, 268, 92, 94, 260, 133, 259, 188, 189, 280),
    ),
    _AARCH64: (
        *(56, 437, 265, 45),
        *(38, 276, 34, 37, 35, 36),
        *(53, 54, 33, 5, 6, 88),
    ),
}
# No call that came after Linux 5.17 is needed. The calls of the 32-bit tables have a bit set far above.
_NEWER = 450
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_SET_SECCOMP, _FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def give_up(calls: Mapping[int, Sequence[int]]) -> bool:
    """Whether the kernel refuses them from now on. Needs `PR_SET_NO_NEW_PRIVS`."""
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        return False
    instructions = _instructions(machine, calls[machine])
    program = _Program(len(instructions), b"".join(instructions))
    refused: bool = ctypes.CDLL(None).prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program)) == 0
    return refused


def _instructions(machine: int, calls: Sequence[int]) -> list[bytes]:
    """A check of the machine, one for each call, and the ends: allow, refuse, kill."""
    checks = [(_AT_LEAST, _NEWER), *((_EQUAL, call) for call in calls)]
    return [
        _instruction(_LOAD, 0, 0, _MACHINE_AT),
        _instruction(_EQUAL, 0, len(checks) + 3, machine),
        _instruction(_LOAD, 0, 0, _NUMBER_AT),
        *(_instruction(check, len(checks) - n, 0, value) for n, (check, value) in enumerate(checks)),
        _instruction(_RETURN, 0, 0, _ALLOW),
        _instruction(_RETURN, 0, 0, _REFUSE),
        _instruction(_RETURN, 0, 0, _KILL),
    ]


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
