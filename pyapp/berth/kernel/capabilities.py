"""Capabilities of the calling process: prctl(2) and capset(2).  See capabilities(7).

Names are the kernel's without `CAP_`.
"""

import ctypes
import errno
from collections.abc import Iterable
from typing import Final

from berth.kernel.call import KernelError, check, libc

# linux/capability.h
NUMBERS: Final[dict[str, int]] = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "LINUX_IMMUTABLE": 9,
    "NET_BIND_SERVICE": 10,
    "NET_BROADCAST": 11,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "IPC_OWNER": 15,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_PACCT": 20,
    "SYS_ADMIN": 21,
    "SYS_BOOT": 22,
    "SYS_NICE": 23,
    "SYS_RESOURCE": 24,
    "SYS_TIME": 25,
    "SYS_TTY_CONFIG": 26,
    "MKNOD": 27,
    "LEASE": 28,
    "AUDIT_WRITE": 29,
    "AUDIT_CONTROL": 30,
    "SETFCAP": 31,
    "MAC_OVERRIDE": 32,
    "MAC_ADMIN": 33,
    "SYSLOG": 34,
    "WAKE_ALARM": 35,
    "BLOCK_SUSPEND": 36,
    "AUDIT_READ": 37,
    "PERFMON": 38,
    "BPF": 39,
    "CHECKPOINT_RESTORE": 40,
}

_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAPABILITY_VERSION_3: Final = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def drop_bounding(keep: Iterable[str]) -> None:
    """Drop everything but `keep` from the bounding set; names that this kernel does not know are passed over.

    Raises KernelError: EPERM without SETPCAP.
    """
    kept = {NUMBERS[name] for name in keep}
    for number in range(64):
        try:
            present = _prctl(_PR_CAPBSET_READ, number, "PR_CAPBSET_READ")
        except KernelError as error:
            if error.errno == errno.EINVAL:
                return  # past the last capability of this kernel
            raise
        if present and number not in kept:
            _prctl(_PR_CAPBSET_DROP, number, "PR_CAPBSET_DROP")


def set_capabilities(keep: Iterable[str]) -> None:
    """Make `keep`, as far as it is permitted now, the effective and permitted set; empty inheritable and ambient.

    Root's programs get the bounding set at execve(2) all the same.  An inheritable set would survive a change to
    another user, and pass by the bounding set at every execve by root.
    """
    wanted = sum(1 << NUMBERS[name] for name in keep)
    header, data = _Header(CAPABILITY_VERSION_3, 0), (_Data * 2)()
    check(libc.capget(ctypes.byref(header), data), "capget")
    for index in range(2):
        allowed = data[index].permitted & (wanted >> (32 * index))
        data[index] = _Data(effective=allowed, permitted=allowed, inheritable=0)
    check(libc.capset(ctypes.byref(header), data), "capset")
    try:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL")
    except KernelError as error:
        if error.errno != errno.EINVAL:  # kernels before 4.3 have no ambient set
            raise


def permitted() -> int:
    """Return the calling process's permitted set as a bit mask.  Raises KernelError."""
    header, data = _Header(CAPABILITY_VERSION_3, 0), (_Data * 2)()
    check(libc.capget(ctypes.byref(header), data), "capget")
    return int(data[0].permitted | data[1].permitted << 32)


def _prctl(option: int, value: int, call: str) -> int:
    zero = ctypes.c_ulong(0)
    return check(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), call)
