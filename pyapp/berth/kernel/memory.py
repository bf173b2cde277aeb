"""The memory of another process, read as the kernel reads the arguments of a system call."""

import errno
import os
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def read_string(memory: int, address: int, limit: int) -> bytes:
    """Return the string at `address` of the process whose /proc/PID/mem is open at `memory`.

    Raises OSError: EFAULT for an address that is not mapped, ENAMETOOLONG for more than `limit` - 1 bytes.
    """
    text = read_page(memory, address, limit)
    if b"\0" not in text:
        raise OSError(errno.ENAMETOOLONG if len(text) == limit else errno.EFAULT, "string without an end")
    return text.partition(b"\0")[0]


def read_exactly(memory: int, address: int, size: int) -> bytes:
    """Return `size` bytes from `address` of the process whose /proc/PID/mem is open at `memory`.

    Raises OSError with EFAULT where not all of them are mapped.
    """
    found = b""
    while len(found) < size:
        try:
            piece = os.pread(memory, size - len(found), address + len(found))
        except (OSError, OverflowError):
            piece = b""
        if not piece:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        found += piece
    return found


def read_page(memory: int, address: int, limit: int) -> bytes:
    """Return up to `limit` bytes from `address`, fewer where a page that is not mapped comes first.

    Page by page, for a string may end just before such a page.  Raises OSError with EFAULT when there is nothing.
    """
    found = b""
    while len(found) < limit and b"\0" not in found:
        at = address + len(found)
        try:
            piece = os.pread(memory, min(limit - len(found), _PAGE - at % _PAGE), at)
        except (OSError, OverflowError):
            break
        if not piece:
            break
        found += piece
    if not found:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return found
