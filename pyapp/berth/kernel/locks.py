"""Locks of an open file description: held until its last descriptor is closed, by however many processes share it.

Unlike a flock(2), such a lock can be asked about without being taken, so that who only looks is in nobody's way.
"""

import errno
import fcntl
import struct
from typing import Final

from berth.kernel.call import KernelError, calling

_FLOCK: Final = "hhqqi"  # l_type, l_whence, l_start, l_len, l_pid of struct flock with 64-bit offsets


def lock(fd: int) -> None:
    """Lock the file behind `fd`, open for writing, waiting for whoever holds it.

    Raises KernelError.  See F_OFD_SETLKW in fcntl_locking(2), Linux 3.15.
    """
    with calling("F_OFD_SETLKW"):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _whole_file(fcntl.F_WRLCK))


def try_to_lock(fd: int) -> bool:
    """Lock the file behind `fd`, open for writing; False when somebody else holds it.  Raises KernelError."""
    try:
        with calling("F_OFD_SETLK"):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
    except KernelError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def is_locked(fd: int) -> bool:
    """Tell whether somebody else holds the file behind `fd`.  Raises KernelError."""
    with calling("F_OFD_GETLK"):
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _whole_file(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, 0, 0, 0, 0)
