"""What a process asks bpf(2) for when it loads a program or attaches one: read from its memory, and asked for anew.

What a program's types are called (BTF), its log, its signature and further descriptors are not read.
"""

import ctypes
import struct
from typing import Final, NamedTuple, Self

from berth.kernel.bpf import bpf

LOAD: Final = 5  # BPF_PROG_LOAD
_PROGRAM: Final = struct.Struct("=IIQQIIQII16sII")
_ATTACHMENT: Final = struct.Struct("=IIIII")


class ProgramRequest(NamedTuple):
    """A program of type `kind` of `length` instructions at the address `code`; `device` is one that is to run it.

    `place` is where it is going to be attached (enum bpf_attach_type).
    """

    kind: int
    length: int
    code: int
    licence: int
    version: int
    flags: int
    name: bytes
    device: int
    place: int

    @classmethod
    def read(cls, attribute: bytes) -> Self:
        """Read it from union bpf_attr, of which any length may be there."""
        fields = _PROGRAM.unpack_from(attribute.ljust(_PROGRAM.size, b"\0"))
        return cls(*fields[:4], *fields[7:])

    def load(self, instructions: bytes, licence: bytes) -> int:
        """Load these instructions in place of the caller's; return the descriptor.  Raises KernelError."""
        code = ctypes.create_string_buffer(instructions, len(instructions))
        words = ctypes.create_string_buffer(licence)
        own = self._replace(code=ctypes.addressof(code), licence=ctypes.addressof(words))
        return bpf(LOAD, _PROGRAM.pack(*own[:4], 0, 0, 0, *own[4:]), "bpf(BPF_PROG_LOAD)")


class AttachRequest(NamedTuple):
    """Descriptors of a cgroup and a program, and of one that is to be replaced; 0 for no program."""

    cgroup: int
    program: int
    place: int
    flags: int
    replaced: int

    @classmethod
    def read(cls, attribute: bytes) -> Self:
        """Read it from union bpf_attr, of which any length may be there."""
        return cls(*_ATTACHMENT.unpack_from(attribute.ljust(_ATTACHMENT.size, b"\0")))

    def carry_out(self, command: int) -> None:
        """Attach or detach, whichever `command` says.  Raises KernelError."""
        bpf(command, _ATTACHMENT.pack(*self), "bpf")
