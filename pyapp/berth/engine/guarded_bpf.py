"""Carries out bpf(2) for a container, without what SYS_ADMIN would add to it.

To the kernel SYS_ADMIN stands for PERFMON and NET_ADMIN as well: a program may read all of the kernel's memory, and be
hung on any interface of the network.  So programs are loaded with the caller's other capabilities, and attached to
cgroups only, which is what systemd and runc do.  What is loaded is a copy: the caller may change its own meanwhile.
"""

import errno
import os
import struct
from typing import Final

from berth.engine.caller import Caller
from berth.kernel.bpf_requests import LOAD, AttachRequest, ProgramRequest
from berth.kernel.capabilities import set_capabilities
from berth.kernel.memory import read_exactly, read_string
from berth.kernel.notifications import Question, answer, answer_with_descriptor, let_pass
from berth.plan.programs import capabilities_for, may_be_attached, may_be_loaded

_INT: Final = 0xFFFFFFFF
_MOST_INSTRUCTIONS: Final = 1 << 16
_MOST_MAPS: Final = 64  # as in the kernel
_LICENCE: Final = 128
_ATTRIBUTE: Final = 4096  # as in the kernel
_TWO_SLOTS: Final = 0x18  # BPF_LD | BPF_IMM | BPF_DW, the one instruction of that size
_NAMES_A_MAP: Final = (1, 2)  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE


def reply(listener: int, question: Question, caller: Caller) -> None:
    """Answer `question` of `caller`; raises OSError with the errno that is the answer."""
    if caller.in_user_namespace or not any(map(caller.has, ("SYS_ADMIN", "BPF", "PERFMON"))):
        let_pass(listener, question)  # the kernel itself allows only what is harmless
        return
    command, address, size = question.arguments[:3]
    if size & _INT > _ATTRIBUTE:
        raise _failure(errno.E2BIG)
    attribute = read_exactly(caller.memory, address, size & _INT)
    if command & _INT == LOAD:
        program = _load(ProgramRequest.read(attribute), caller)
        answer_with_descriptor(listener, question, program, close_on_exec=True)
    else:
        _attach(command & _INT, AttachRequest.read(attribute), caller)
        answer(listener, question, 0)


def _load(request: ProgramRequest, caller: Caller) -> int:
    """Load a copy of the caller's program; return its descriptor."""
    if not may_be_loaded(request.flags, request.device):
        raise _failure(errno.EPERM)
    if not 0 < request.length <= _MOST_INSTRUCTIONS:
        raise _failure(errno.E2BIG)
    licence = read_string(caller.memory, request.licence, _LICENCE)
    instructions = _with_our_maps(read_exactly(caller.memory, request.code, 8 * request.length), caller)
    set_capabilities(capabilities_for(request.kind, caller.has))
    return request.load(instructions, licence)


def _with_our_maps(instructions: bytes, caller: Caller) -> bytes:
    """Return the instructions with the numbers that copies of the caller's maps have here."""
    changed = bytearray(instructions)
    ours: dict[int, int] = {}
    at = 0
    while at < len(changed):
        code, registers, _, number = struct.unpack_from("<BBhi", changed, at)
        if code == _TWO_SLOTS and registers >> 4 in _NAMES_A_MAP:
            if number not in ours:
                if len(ours) == _MOST_MAPS:
                    raise _failure(errno.E2BIG)
                ours[number] = caller.copy(number)
            struct.pack_into("<i", changed, at + 4, ours[number])
        at += 16 if code == _TWO_SLOTS else 8
    return bytes(changed)


def _attach(command: int, request: AttachRequest, caller: Caller) -> None:
    """Attach a program to a cgroup, or take it off again."""
    if not may_be_attached(request.place, request.flags):
        raise _failure(errno.EPERM)
    ours = request._replace(
        cgroup=caller.copy(request.cgroup),
        program=caller.copy(request.program) if request.program else 0,
        replaced=caller.copy(request.replaced) if request.replaced else 0,
    )
    set_capabilities(("BPF", "NET_ADMIN"))
    ours.carry_out(command)


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))
