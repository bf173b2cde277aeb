"""Pseudo-terminals: one opened from a given devpts, its size, raw mode."""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import termios
import tty
from typing import Final

from berth.kernel.call import KernelError, calling, check, libc

_TIOCGPTPEER: Final = 0x5441  # Linux 4.13; the same number on every architecture here
_TIOCGPTN: Final = 0x80045430
_TIOCSPTLCK: Final = 0x40045431
_DEVPTS_MAGIC: Final = 0x1CD1
_PTMX: Final = os.makedev(5, 2)


def open_pty(ptmx: int, folder: int) -> tuple[int, int]:
    """Open a new pseudo-terminal from `ptmx`, an O_PATH descriptor of a devpts' ptmx; return (master, slave).

    A container may have put anything in that place, so it must be device 5:2 on a devpts.  `folder` is that
    devpts' root, used on kernels without TIOCGPTPEER (before 4.13).  Raises KernelError.  See pts(4).
    """
    found = os.fstat(ptmx)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _PTMX or _magic(ptmx) != _DEVPTS_MAGIC:
        raise KernelError("open", errno.ENOTTY, "/dev/pts/ptmx")
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = os.open(f"/proc/self/fd/{ptmx}", flags)
    try:
        with calling("TIOCSPTLCK", "/dev/pts/ptmx"):
            fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        try:
            slave = check(libc.ioctl(master, ctypes.c_ulong(_TIOCGPTPEER), ctypes.c_int(flags)), "TIOCGPTPEER")
        except KernelError:
            (number,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, struct.pack("i", 0)))
            slave = os.open(str(number), flags | os.O_NOFOLLOW, dir_fd=folder)
            if os.fstat(slave).st_rdev != os.makedev(136 + number // 256, number % 256):
                os.close(slave)
                raise KernelError("open", errno.ENOTTY, f"/dev/pts/{number}") from None
    except OSError:
        os.close(master)
        raise
    return master, slave


def _magic(fd: int) -> int:
    """Return the f_type of the file system below `fd`: the first word that fstatfs(2) fills in."""
    room = ctypes.create_string_buffer(256)
    check(libc.fstatfs(ctypes.c_int(fd), room), "fstatfs")
    return int.from_bytes(room.raw[: ctypes.sizeof(ctypes.c_long)], "little")


def window_size(fd: int) -> tuple[int, int]:
    """Return (rows, columns) of the terminal `fd`; (0, 0) where it has none."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return 0, 0
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Tell terminal `fd` its size; the foreground process group gets SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def make_controlling(fd: int) -> None:
    """Make `fd` the controlling terminal of the caller, which must lead a session without one."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def reopen(fd: int) -> int:
    """Return a new descriptor, to read and write, of the terminal `fd`; `fd` itself where it can't be opened again.

    The new one has blocking reads whatever others, who share `fd` with the caller, have set.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return fd


def in_foreground(fd: int) -> bool:
    """Tell whether the caller may read terminal `fd`: its process group is in front, or has no job control there."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


Mode = list[int | list[bytes | int]]


def go_raw(fd: int) -> Mode:
    """Put terminal `fd` into raw mode and return the mode to restore."""
    before: Mode = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSANOW)  # waiting for output that a frozen terminal keeps would never end
    return before


def restore(fd: int, mode: Mode) -> None:
    """Put terminal `fd` back into `mode`."""
    termios.tcsetattr(fd, termios.TCSANOW, mode)


def is_canonical(fd: int) -> bool:
    """Tell whether terminal `fd` hands out whole lines, as a shell leaves it."""
    try:
        return bool(termios.tcgetattr(fd)[3] & termios.ICANON)
    except termios.error:
        return False


def copy_mode(source: int, target: int) -> None:
    """Give terminal `target` the mode of terminal `source`: its special characters, its echo, its UTF-8."""
    termios.tcsetattr(target, termios.TCSANOW, termios.tcgetattr(source))
