"""Takes away from the child what reading a file does not need.

Limits hold everywhere but on Windows. The rest is taken twice, on Linux: by namespaces, which many containers do not
give to a process without privileges, and by a filter of calls, which knows two machines.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

from app.documents.extraction.calls import FILES, REACHING_OUT, give_up
from app.documents.extraction.limits import Limits

_OPEN_FILES = 64
_NICENESS = 10
_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_SET_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_CAPABILITIES_VERSION = 0x20080522
# A directory that the kernel makes, and in which nobody writes.
_EMPTY_ROOT = "/proc/self/fdinfo"


def limit(limits: Limits) -> None:
    """Memory, CPU, files: no byte can be written to one, and no process begun."""
    if sys.platform == "win32":
        return
    import resource

    bounds = {
        resource.RLIMIT_AS: (limits.memory, limits.memory),
        # The second, one later, for who would catch the signal of the first.
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (_OPEN_FILES, _OPEN_FILES),
        resource.RLIMIT_NPROC: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for bound, value in bounds.items():
        with suppress(ValueError, OSError):  # of one that the system does not have, or holds lower already
            resource.setrlimit(bound, value)
    with suppress(OSError):
        os.nice(_NICENESS)


def leave_the_network() -> bool:
    """Whether nobody can be reached any more: by a network of its own without so much as a loopback, by refused calls.

    Nor can the service's process be: its environment has the keys, and another user namespace may not look into it.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    alone: bool = libc.unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC) == 0
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return give_up(REACHING_OUT) or alone


def leave_the_files() -> None:
    """No file of the system is to be seen any more, and no capability is left. What is imported later is not found."""
    if sys.platform != "linux":
        return
    with suppress(OSError):  # who has no namespace of its own may not, unless it is root
        os.chroot(_EMPTY_ROOT)
        os.chdir("/")
    libc = ctypes.CDLL(None)
    libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)())
    # The service may be killed. Any change of credentials, as all before, would undo this.
    libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    give_up(FILES)
