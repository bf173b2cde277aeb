"""Programs for the kernel's classic BPF machine, which looks at system calls or packets.  See bpf(4), linux/filter.h.

A program is built from pieces that each end in a return, so a piece can stand anywhere; jumps lead forward only.
"""

import struct
from typing import Final, NamedTuple

# linux/bpf_common.h: class | size or operation | operand
LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
LOAD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
LOAD_WORD_BEHIND: Final = 0x40  # BPF_LD | BPF_W | BPF_IND
LOAD_HALF_BEHIND: Final = 0x48  # BPF_LD | BPF_H | BPF_IND
LOAD_LENGTH: Final = 0x80  # BPF_LD | BPF_W | BPF_LEN
LOAD_INDEX: Final = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: four times the lower half of a byte
AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP: Final = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_NOT_LESS: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K

_INSTRUCTION: Final = struct.Struct("=HBBI")
INSTRUCTION_BYTES: Final = _INSTRUCTION.size


class Instruction(NamedTuple):
    """A struct sock_filter; `jt` and `jf` count the instructions that a true and a false comparison leap over."""

    code: int
    k: int
    jt: int = 0
    jf: int = 0


Code = tuple[Instruction, ...]


def branch(comparison: int, k: int, yes: Code, no: Code) -> Code:
    """Return code that goes on with `yes` where the comparison holds, else with `no`.

    Conditional jumps reach 255 instructions.
    """
    if len(yes) <= 255:
        return (Instruction(comparison, k, jf=len(yes)), *yes, *no)
    return (Instruction(comparison, k, jt=1), Instruction(JUMP, len(yes)), *yes, *no)


def packed(code: Code) -> bytes:
    """Return `code` as an array of struct sock_filter."""
    return b"".join(_INSTRUCTION.pack(one.code, one.jt, one.jf, one.k) for one in code)
