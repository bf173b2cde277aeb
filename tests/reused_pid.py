"""A process with the pid of one that has ended: what happens by itself when the kernel's pids have gone round."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests import faults

_SYS_CLONE3 = 435
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _CloneArguments(ctypes.Structure):
    _names = ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    _fields_ = [(name, ctypes.c_uint64) for name in (*_names, "set_tid", "set_tid_size", "cgroup")]


@contextlib.contextmanager
def stranger(pid: int, *argv: str) -> Iterator[None]:
    """Have the program `argv` run as process `pid`, whose holder has been killed, until the block ends.

    See clone3(2), set_tid (Linux 5.5).
    """
    faults.wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"nobody has pid {pid} any more")
    wanted = (ctypes.c_int * 1)(pid)
    arguments = _CloneArguments(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1)
    size = ctypes.c_size_t(ctypes.sizeof(arguments))
    child = _libc.syscall(ctypes.c_long(_SYS_CLONE3), ctypes.byref(arguments), size)
    if child == 0:
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    assert child == pid, os.strerror(ctypes.get_errno())
    try:
        yield
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it was left alone"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
