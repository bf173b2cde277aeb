"""The kernel's wakelocks: while one is held, the device does not suspend.

A write to wake_lock holds the one that is named, a read lists those that are held; see
Documentation/ABI/testing/sysfs-power.  Android's kernels have them (CONFIG_PM_WAKELOCKS), others mostly not.
"""

import errno

from berth.kernel.files import read_file, write_file

WAKE_LOCK = "/sys/power/wake_lock"
_WAKE_UNLOCK = "/sys/power/wake_unlock"


def hold(name: str) -> None:
    """Hold the wakelock `name` (no blanks in it).  Raises OSError: ENOSPC when there are too many."""
    write_file(WAKE_LOCK, name.encode())


def let_go(name: str) -> None:
    """Let go of the wakelock `name`, if it is held.  Raises OSError."""
    try:
        if is_held(name):
            write_file(_WAKE_UNLOCK, name.encode())
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):  # no wakelocks; let go of meanwhile
            raise


def is_held(name: str) -> bool:
    """Tell whether somebody holds the wakelock `name`."""
    try:
        return name in read_file(WAKE_LOCK).decode(errors="replace").split()
    except FileNotFoundError:
        return False
