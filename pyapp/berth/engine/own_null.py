"""Keeps the host's /dev/null from a program whose standard streams are that: root inside could change its mode."""

import os
import stat

from berth.errors import BerthError

_NULL = os.makedev(1, 3)


def take_own_null() -> None:
    """Put the /dev/null of the caller's root in the place of any other among 0, 1 and 2, when it is in the container.

    Raises BerthError where root inside has put something else there.
    """
    for number in range(3):
        if not _is_null(number):
            continue
        try:
            own = os.open("/dev/null", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BerthError(f"its /dev/null can't be opened ({error.strerror}); a restart puts it right") from error
        if not _is_null(own):
            raise BerthError("its /dev/null is something else by now; a restart puts it right")
        os.dup2(own, number)
        os.close(own)


def _is_null(fd: int) -> bool:
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL
