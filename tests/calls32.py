"""i386 system calls out of a 64-bit x86 process."""

import ctypes
import mmap

_CODE = bytes.fromhex(
    "53"  # push rbx
    "89f8"  # mov eax, edi  (the number)
    "89f3"  # mov ebx, esi  (argument 0)
    "87ca"  # xchg edx, ecx  (argument 1 was in edx, argument 2 in ecx)
    "4489c6"  # mov esi, r8d  (argument 3)
    "4489cf"  # mov edi, r9d  (argument 4)
    "cd80"  # int 0x80
    "4898"  # cdqe
    "5b"  # pop rbx
    "c3"  # ret
)


def call_32(number: int, *arguments: int) -> int:
    """Make i386 call `number` with five arguments at most, 0 where there are fewer, and return its result."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(_CODE)
        start = ctypes.c_char.from_buffer(memory)
        function = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_uint] * 6)(ctypes.addressof(start))
        five = [*arguments, 0, 0, 0, 0, 0][:5]
        result = int(function(number, *(argument & 0xFFFFFFFF for argument in five)))
        del start
    return result
