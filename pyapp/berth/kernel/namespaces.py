"""Namespace system calls: unshare(2), setns(2), sethostname(2)."""

import ctypes
import os
from collections.abc import Iterable
from typing import Final

from berth.kernel.call import check, libc

CLONE_FLAGS: Final[dict[str, int]] = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
"""CLONE_NEW* by the word that a Plan uses."""

NAMESPACE_FILES: Final[dict[str, str]] = {
    "cgroup": "cgroup",
    "uts": "uts",
    "ipc": "ipc",
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
}
"""The name below /proc/PID/ns, in the order in which a joining process must enter: the mount namespace last."""


def unshare(*words: str) -> None:
    """Give the calling process new namespaces (a new PID namespace takes its children).  See unshare(2).

    Raises KernelError: EINVAL where the kernel lacks one of them, EPERM without CAP_SYS_ADMIN.
    """
    check(libc.unshare(ctypes.c_int(clone_flags(words))), "unshare", ",".join(words))


def clone_flags(words: Iterable[str]) -> int:
    """Return the CLONE_NEW* flags of the namespaces that `words` name."""
    flags = 0
    for word in words:
        flags |= CLONE_FLAGS[word]
    return flags


def setns(fd: int, word: str) -> None:
    """Enter the namespace that `fd` (an open /proc/PID/ns file) stands for.  See setns(2)."""
    check(libc.setns(ctypes.c_int(fd), ctypes.c_int(CLONE_FLAGS[word])), "setns", word)


def open_namespaces(pid: int) -> dict[str, int]:
    """Return descriptors of those namespaces of `pid` that differ from the caller's own, in joining order.

    Raises OSError: ENOENT when the process is gone.
    """
    found: dict[str, int] = {}
    for word, file in NAMESPACE_FILES.items():
        path = f"/proc/{pid}/ns/{file}"
        try:
            theirs = os.stat(path)
        except FileNotFoundError:
            if word == "cgroup" and os.path.exists(f"/proc/{pid}"):
                continue  # kernels before 4.6 have no cgroup namespaces
            raise
        if os.stat(f"/proc/self/ns/{file}").st_ino != theirs.st_ino:
            found[word] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return found


def same_mount_namespace(pid: int) -> bool:
    """Tell whether process `pid` sees the same mounts as the caller."""
    return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")


def enter_mounts_of(pid: int) -> None:
    """Have the calling process see the mounts of process `pid`; its root and working folder become theirs.

    Raises KernelError, and OSError when there is no such process.
    """
    mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(mounts, "mount")
    finally:
        os.close(mounts)


def sethostname(name: str) -> None:
    """Set the host name of the caller's UTS namespace (64 bytes at most).  See sethostname(2)."""
    raw = name.encode()
    check(libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname", name)
