"""A program for containers that have none: makes system calls and prints what each returned.

It is a static ELF file for x86-64 that is put together here.  See elf(5), and syscall(2) on who passes what.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_BASE = 0x400000
_HEADERS = 64 + 56
_WRITE, _EXIT = 1, 60


class Call(NamedTuple):
    """A system call by its number, with one argument; the others are 0."""

    number: int
    argument: int = 0


def write_probe(target: Path, calls: Sequence[Call]) -> None:
    """Write the program that makes `calls`, to be read by `results`."""
    results = _BASE + 0x1000
    code = b"".join(
        _call(call.number, call.argument) + b"\x89\x04\x25" + struct.pack("<I", results + 4 * index)  # mov [..], eax
        for index, call in enumerate(calls)
    )
    code += _call(_WRITE, 1, results, 4 * len(calls)) + _call(_EXIT, 0)
    memory = 0x1000 + 4 * len(calls)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = _HEADERS + len(code)
    header += struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, size, memory, 0x1000)
    target.write_bytes(header + code)
    target.chmod(0o755)


def results(printed: bytes) -> list[int]:
    """Return what each call returned; a negative errno where it failed."""
    return list(struct.unpack(f"<{len(printed) // 4}i", printed))


def _call(number: int, *arguments: int) -> bytes:
    rdi, rsi, rdx = (*arguments, 0, 0, 0)[:3]
    registers = b"".join(
        opcode + struct.pack("<I", value)
        for opcode, value in ((b"\xb8", number), (b"\xbf", rdi), (b"\xbe", rsi), (b"\xba", rdx))
    )
    return registers + b"\x4d\x31\xd2\x0f\x05"  # xor r10, r10; syscall
