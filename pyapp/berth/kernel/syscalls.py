"""System call numbers of the calls that Berth filters, and the architectures a kernel runs side by side.

From the kernel's own tables: arch/x86/entry/syscalls/syscall_{64,32}.tbl, include/uapi/asm-generic/unistd.h (arm64 and
riscv64) and arch/arm/tools/syscall.tbl (EABI).  None of these calls is multiplexed by socketcall or ipc but socket,
getsockopt and setsockopt on i386, where both ways exist (since 4.3).
"""

import ctypes
import os
from typing import Final

from msgspec import Struct

_NUMBERS: Final[dict[str, tuple[int | None, int | None, int | None, int | None]]] = {
    # name: (x86_64, i386, asm-generic, arm)
    "add_key": (248, 286, 217, 309),
    "bpf": (321, 357, 280, 386),
    "clock_settime": (227, 264, 112, 262),
    "clock_settime64": (None, 404, None, 404),  # 5.1; where time_t always had 64 bits there is but the one call
    "clone": (56, 120, 220, 120),
    "clone3": (435, 435, 435, 435),
    "delete_module": (176, 129, 106, 129),
    "fanotify_init": (300, 338, 262, 367),
    "fanotify_mark": (301, 339, 263, 368),
    "finit_module": (313, 350, 273, 379),
    "fsconfig": (431, 431, 431, 431),
    "fsopen": (430, 430, 430, 430),
    "fspick": (433, 433, 433, 433),
    "getsockopt": (55, 365, 209, 295),
    "init_module": (175, 128, 105, 128),
    "ioctl": (16, 54, 29, 54),
    "io_uring_setup": (425, 425, 425, 425),
    "kexec_file_load": (320, None, 294, 401),
    "kexec_load": (246, 283, 104, 347),
    "keyctl": (250, 288, 219, 311),
    "listmount": (458, 458, 458, 458),  # 6.8
    "mount": (165, 21, 40, 21),
    "open_by_handle_at": (304, 342, 265, 371),
    "perf_event_open": (298, 336, 241, 364),
    "prctl": (157, 172, 167, 172),
    "quotactl": (179, 131, 60, 131),
    "quotactl_fd": (443, 443, 443, 443),
    "reboot": (169, 88, 142, 88),
    "request_key": (249, 287, 218, 310),
    "setns": (308, 346, 268, 375),
    "setsockopt": (54, 366, 208, 294),
    "settimeofday": (164, 79, 170, 79),
    "socket": (41, 359, 198, 281),
    "statmount": (457, 457, 457, 457),  # 6.8
    "stime": (None, 25, None, None),  # arm has it in OABI only, and a kernel with OABI_COMPAT has no seccomp filter
    "swapoff": (168, 115, 225, 115),
    "swapon": (167, 87, 224, 87),
    "syslog": (103, 103, 116, 103),
    "unshare": (272, 310, 97, 337),
}
NAMES: Final = frozenset(_NUMBERS)


class Architecture(Struct, frozen=True):
    """One system call table: `audit` is its AUDIT_ARCH_ value (linux/audit.h), `numbers` what it has of NAMES.

    `foreign` are ranges of numbers (first and last) under the same `audit` value that belong to another table.
    """

    audit: int
    numbers: dict[str, int]
    foreign: tuple[tuple[int, int], ...] = ()


def architectures(machine: str) -> tuple[Architecture, ...]:
    """Return every architecture whose programs the kernel of `machine` (as in uname) runs, its own first.

    Raises ValueError for a machine Berth has no numbers for.
    """
    try:
        return _ARCHITECTURES[machine]
    except KeyError:
        raise ValueError(f"no system call numbers are known for machine {machine!r}") from None


def own_architecture() -> Architecture:
    """Return the architecture whose calls this very process makes.

    uname does not tell: it names the kernel's machine, to a 32-bit program as well, and under PER_LINUX32 the 32-bit
    one, to a 64-bit program as well.  The width of a pointer does.  Raises ValueError for an unknown machine.
    """
    machine = os.uname().machine
    wide = ctypes.sizeof(ctypes.c_void_p) == 8
    for architecture in architectures(machine):
        if bool(architecture.audit & _AUDIT_ARCH_64BIT) == wide:
            return architecture
    raise ValueError(f"no system call numbers are known for such a program on {machine!r}")


def number_of(name: str, audit: int) -> int | None:
    """Return the number of call `name` in the table `audit` (AUDIT_ARCH_), None where it has none."""
    return next((one.numbers.get(name) for one in _ALL if one.audit == audit), None)


def _column(index: int) -> dict[str, int]:
    return {name: number for name, row in _NUMBERS.items() if (number := row[index]) is not None}


_AUDIT_ARCH_64BIT: Final = 0x80000000

# x32 has its numbers from 0x40000000 up, except that before 5.4 its entries 512 to 547 also answer without that bit
# (528 is kexec_load).  0xffffffff is no call but a tracer's way to skip one, and stays out of the range.
X86_64: Final = Architecture(audit=0xC000003E, numbers=_column(0), foreign=((512, 547), (0x40000000, 0xFFFFFFFE)))
I386: Final = Architecture(audit=0x40000003, numbers=_column(1))
AARCH64: Final = Architecture(audit=0xC00000B7, numbers=_column(2))
RISCV64: Final = Architecture(audit=0xC00000F3, numbers=_column(2))
ARM: Final = Architecture(audit=0x40000028, numbers=_column(3))
_ALL: Final = (X86_64, I386, AARCH64, RISCV64, ARM)

SECCOMP: Final = {X86_64.audit: 317, I386.audit: 354, AARCH64.audit: 277, RISCV64.audit: 277, ARM.audit: 383}
"""The number of seccomp(2) itself, which no filter looks at, by `audit`."""

# Under the personality PER_LINUX32 a 64-bit kernel calls itself i686 or armv8l.  A 32-bit kernel may too, and there
# the 64-bit architecture never comes up.
_ARCHITECTURES: Final = {
    "x86_64": (X86_64, I386),
    "i686": (I386, X86_64),
    "i586": (I386,),
    "i386": (I386,),
    "aarch64": (AARCH64, ARM),
    "armv8l": (ARM, AARCH64),
    "armv7l": (ARM,),
    "riscv64": (RISCV64,),
}
MACHINES: Final = tuple(_ARCHITECTURES)
"""What uname calls the machines Berth has numbers for."""
