"""Whether this kernel runs 32-bit programs: told by executing one, because nothing else is sure.

A kernel may be built without (CONFIG_COMPAT, CONFIG_IA32_EMULATION), and the processor may lack the mode, as newer
arm64 cores do.
"""

import ctypes
import errno
import os
import struct
from typing import Final

from berth.kernel.call import KernelError
from berth.kernel.processes import fork

_ADDRESS: Final = 0x10000
_HEADERS: Final = 52 + 32

# e_machine, e_flags, code of exit(0), by uname's machine
_PROGRAMS: Final = {
    "x86_64": (3, 0, bytes.fromhex("b801000000 31db cd80")),  # mov eax, 1; xor ebx, ebx; int 0x80
    "aarch64": (40, 0x05000000, bytes.fromhex("0000a0e3 0170a0e3 000000ef")),  # mov r0, #0; mov r7, #1; svc 0
}


def execute_narrow_program(machine: str) -> None:
    """Run the smallest 32-bit program of a 64-bit `machine`, and wait for it; nothing where the caller is one itself.

    Raises KernelError: ENOEXEC where the kernel or the processor can't, EACCES where a policy does not let it.
    """
    if ctypes.sizeof(ctypes.c_void_p) == 4:
        return
    if machine not in _PROGRAMS:
        raise KernelError("execve", errno.ENOEXEC, f"a 32-bit program on {machine}")
    fd = os.memfd_create("narrow", os.MFD_CLOEXEC)
    try:
        os.write(fd, _program(*_PROGRAMS[machine]))
        pid = fork()
        if pid == 0:
            _execute(fd)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(fd)
    if status:
        number = os.WEXITSTATUS(status) if os.WIFEXITED(status) else errno.ENOEXEC
        raise KernelError("execve", number, f"a 32-bit program on {machine}")


def _execute(fd: int) -> None:
    try:
        os.execve(fd, ["narrow"], {})
    except OSError as error:
        os._exit(error.errno or errno.ENOEXEC)
    finally:
        os._exit(errno.ENOEXEC)


def _program(machine: int, flags: int, code: bytes) -> bytes:
    """An ELF file of one segment: headers and `code`.  See elf(5)."""
    identity = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")  # 32-bit, little-endian
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", identity, 2, machine, 1, _ADDRESS + _HEADERS, 52, 0, flags, 52, 32, 1, 0, 0, 0
    )
    segment = struct.pack("<IIIIIIII", 1, 0, _ADDRESS, _ADDRESS, size, size, 5, _ADDRESS)  # PT_LOAD, read and execute
    return header + segment + code
