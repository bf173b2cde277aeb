"""Run a program for which the kernel refuses certain system calls, as an old kernel or a strict machine does.

    python3 -m tests.refusing EPERM mount setns prctl:0=24 -- berth start demo

`CALL:INDEX=VALUE` refuses the call only where that argument (from 0) has that value, `CALL:INDEX=VALUE/MASK` where its
bits in MASK have.  The filter is libseccomp's, and goes on to every child.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Iterable

import build
from tests.program import Berth

SCMP_ACT_ALLOW = 0x7FFF0000
SCMP_ACT_ERRNO = 0x00050000
SCMP_CMP_MASKED_EQ = 7
SCMP_FLTATR_CTL_NNP = 3
SCMP_ERROR = -1
_WHOLE = 0xFFFFFFFF


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp; for SCMP_CMP_MASKED_EQ the first datum is the mask."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("mask", ctypes.c_uint64), ("value", ctypes.c_uint64))


def refuse(number: int, calls: Iterable[str]) -> None:
    """Have the kernel answer errno `number` to each of `calls` of this process and its children, for good.

    Needs root.  Raises OSError, and LookupError for a call that libseccomp does not know.
    """
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(SCMP_ACT_ALLOW)))
    _check(library.seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, ctypes.c_uint32(0)))
    for call in calls:
        name, _, test = call.partition(":")
        syscall = library.seccomp_syscall_resolve_name(name.encode())
        if syscall == SCMP_ERROR:
            raise LookupError(f"libseccomp knows no system call {name}")
        tests = [_comparison(test)] if test else []
        array = (_Comparison * len(tests))(*tests)
        action = ctypes.c_uint32(SCMP_ACT_ERRNO | number)
        _check(library.seccomp_rule_add_array(context, action, syscall, len(tests), array))
    _check(library.seccomp_load(context))


def _comparison(test: str) -> _Comparison:
    index, _, value = test.partition("=")
    value, _, mask = value.partition("/")
    return _Comparison(int(index), SCMP_CMP_MASKED_EQ, int(mask, 0) if mask else _WHOLE, int(value, 0))


def _check(result: int) -> None:
    if result:
        raise OSError(-result, os.strerror(-result))


def refusing(berth: Berth, number: int, *calls: str) -> Berth:
    """Return the command `berth` as it runs where the kernel answers `number` to `calls`."""
    refused = Berth(berth.home)
    refused.environment = {**berth.environment, "PYTHONPATH": f"{build.ROOT}:{build.ROOT / 'pyapp'}"}
    refused.command = [sys.executable, "-m", "tests.refusing", errno.errorcode[number], *calls, "--", *berth.command]
    return refused


if __name__ == "__main__":
    end = sys.argv.index("--")
    refuse(getattr(errno, sys.argv[1]), sys.argv[2:end])
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])
