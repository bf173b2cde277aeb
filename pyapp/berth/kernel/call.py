"""The one door to libc: how a C function or a bare system call is made and how it fails.

System calls from 424 up have the same number on every architecture Berth runs on (the kernel unified
them in 5.1), so those are called by number; older ones go through their glibc wrappers.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class KernelError(OSError):
    """A system call failed.  Holds facts (`call`, `errno`, `filename`); whoever shows it adds the advice."""

    def __init__(self, call: str, number: int, path: str | None = None) -> None:
        super().__init__(number, os.strerror(number), path)
        self.call = call

    def __str__(self) -> str:
        on = f" on {self.filename}" if self.filename else ""
        return f"{self.call}{on}: {self.strerror}"


@contextlib.contextmanager
def calling(call: str, path: str | None = None) -> Iterator[None]:
    """Turn an OSError of the block, which makes `call` through Python's own modules, into a KernelError naming it."""
    try:
        yield
    except OSError as error:
        raise KernelError(call, error.errno or 0, path) from None


def explain(error: OSError) -> str:
    """Return in words what failed and why, without the number that Python's own text begins with."""
    if isinstance(error, KernelError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def check(result: int, call: str, path: str | None = None) -> int:
    """Return `result` of a libc function, or raise KernelError with the errno it left when it is negative."""
    if result < 0:
        raise KernelError(call, ctypes.get_errno(), path)
    return result


def syscall(number: int, call: str, *arguments: object, path: str | None = None) -> int:
    """Make system call `number` and return its result; `arguments` are ctypes values.

    Raises KernelError naming `call` and `path`; errno is ENOSYS where the kernel is older than the call.
    """
    return check(int(libc.syscall(ctypes.c_long(number), *arguments)), call, path)
