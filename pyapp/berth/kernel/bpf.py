"""BPF programs that decide which devices (Linux 4.15) and sysctls (5.2) the processes of a cgroup may use.  See bpf(2).

A program returns 1 to allow and 0 to refuse with EPERM.  Of several on the way from the root to a process's cgroup each
must allow, so one attached below can only take away.
"""

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from berth.kernel.call import KernelError, syscall
from berth.kernel.syscalls import own_architecture

# linux/bpf.h
_BPF_PROG_LOAD: Final = 5
_BPF_PROG_ATTACH: Final = 8
_BPF_PROG_DETACH: Final = 9
_BPF_PROG_GET_FD_BY_ID: Final = 13
_BPF_PROG_QUERY: Final = 16
_BPF_CGROUP_DEVICE: Final = 6
_BPF_F_ALLOW_MULTI: Final = 2
_BPF_F_REPLACE: Final = 4
_BPF_CGROUP_MAX_PROGS: Final = 64
_ACCESS: Final = {"m": 1, "r": 2, "w": 4}
_KIND: Final = {"b": 1, "c": 2}

# Operation codes: class, operation and operand as in linux/bpf_common.h.
_LOAD_WORD: Final = 0x61
_JUMP: Final = 0x05
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_NOT_EQUAL: Final = 0x55
_MOVE: Final = 0xB7
_MOVE_REGISTER: Final = 0xBF
_AND: Final = 0x57
_SHIFT_RIGHT: Final = 0x77
_EXIT: Final = 0x95
_ADD: Final = 0x07
_CALL: Final = 0x85
_STORE_WORD: Final = 0x62
_RESULT, _CONTEXT, _WANTED, _TYPE, _MAJOR, _MINOR = range(6)  # registers
_FRAME: Final = 10

_BPF_FUNC_SYSCTL_GET_NAME: Final = 101
_NAME_ROOM: Final = 8  # bytes on the stack: enough for "net/"

_LOG_SIZE: Final = 1 << 16
_LOG_TAIL: Final = 500


class Rule(NamedTuple):
    """Allow `access` ("rwm" or part of it) to devices of `kind` ("b", "c", "a" for both); None means any number."""

    kind: str
    major: int | None
    minor: int | None
    access: str


class ProgramType(NamedTuple):
    """What a program is about: its type and its place on a cgroup, by the kernel's numbers."""

    number: int
    place: int
    words: str


DEVICES: Final = ProgramType(15, _BPF_CGROUP_DEVICE, "a device program")
SYSCTLS: Final = ProgramType(23, 18, "a sysctl program")


class ProgramRefused(KernelError):
    """The kernel did not take a program; `log` is the end of what its verifier wrote."""

    def __init__(self, number: int, kind: ProgramType, log: str) -> None:
        super().__init__("bpf(BPF_PROG_LOAD)", number, kind.words)
        self.log = log

    def __str__(self) -> str:
        return f"{super().__str__()}: {self.log}" if self.log else super().__str__()


def assemble_device_program(rules: Iterable[Rule]) -> bytes:
    """Return the instructions of a program that allows what `rules` allow together and refuses all else.

    It branches by kind, then major, then minor, and ends inside each branch: the verifier of 4.15 to 5.1 walks every
    path and would give up on one long chain of comparisons.  Raises ValueError for a minor without a major.
    """
    table = _allowed(rules)
    code = [
        _instruction(_LOAD_WORD, _WANTED, _CONTEXT, offset=0),  # bpf_cgroup_dev_ctx: access << 16 | type, major, minor
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
        _instruction(_MOVE_REGISTER, _TYPE, _WANTED),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _WANTED, value=16),
    ]
    for kind, majors in table.items():
        code += _only_if(_TYPE, _KIND[kind], _branch_on_major(majors))
    return b"".join(code + _verdict(0))


def assemble_sysctl_program(*, net: bool) -> bytes:
    """Return the instructions of a program that lets every sysctl be read and none be written.

    With `net` those below net/ may be written.  See Documentation/bpf/prog_cgroup_sysctl.rst of the kernel.
    """
    code = [
        _instruction(_LOAD_WORD, _WANTED, _CONTEXT, offset=0),  # bpf_sysctl: write, file_pos
        *_only_if(_WANTED, 0, _answer(1)),
    ]
    if net:
        code += [
            _instruction(_STORE_WORD, _FRAME, offset=-_NAME_ROOM, value=0),  # the verifier wants it filled
            _instruction(_STORE_WORD, _FRAME, offset=4 - _NAME_ROOM, value=0),
            _instruction(_MOVE_REGISTER, 2, _FRAME),
            _instruction(_ADD, 2, value=-_NAME_ROOM),
            _instruction(_MOVE, 3, value=_NAME_ROOM),
            _instruction(_MOVE, 4, value=0),
            _instruction(_CALL, value=_BPF_FUNC_SYSCTL_GET_NAME),  # cuts off what does not fit, and goes on
            _instruction(_LOAD_WORD, _WANTED, _FRAME, offset=-_NAME_ROOM),
            *_only_if(_WANTED, int.from_bytes(b"net/", "little"), _answer(1)),
        ]
    return b"".join(code + _answer(0))


def load(program: bytes, kind: ProgramType = DEVICES) -> int:
    """Return a descriptor of the loaded program, close-on-exec; without it or an attachment the program is gone.

    Raises ProgramRefused: EINVAL where the kernel lacks programs of this kind, EACCES when the verifier objects.
    """
    try:
        return _load(program, kind)
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
    with _unlimited_locked_memory():  # before 5.11 programs count as locked memory of the user
        return _load(program, kind)


def attach(cgroup: int, program: int, kind: ProgramType = DEVICES) -> None:
    """Attach `program` to the cgroup2 whose folder `cgroup` is open on, beside others that may be there.

    It stays until the cgroup is removed.  Raises KernelError.
    """
    attribute = struct.pack("=IIII", cgroup, program, kind.place, _BPF_F_ALLOW_MULTI)
    bpf(_BPF_PROG_ATTACH, attribute, "bpf(BPF_PROG_ATTACH)")


def replace(cgroup: int, program: int) -> None:
    """Put `program` in the place of those that `attach` put on the cgroup, and nothing is unconfined meanwhile.

    In one step from 5.6 on; before, old and new both hold for a moment, so that less is allowed.  Raises KernelError.
    """
    old = _attached(cgroup)
    try:
        if not old or not _replace_one(cgroup, program, old[0]):
            attach(cgroup, program)
        else:
            os.close(old.pop(0))
        for attached in old:
            bpf(_BPF_PROG_DETACH, struct.pack("=III", cgroup, attached, _BPF_CGROUP_DEVICE), "bpf(BPF_PROG_DETACH)")
    finally:
        for attached in old:
            os.close(attached)


def probe_device_bpf() -> bool:
    """Tell whether this kernel takes device programs from this process (4.15 with CONFIG_CGROUP_BPF)."""
    try:
        os.close(load(assemble_device_program(())))
    except KernelError:
        return False
    return True


def _attached(cgroup: int) -> list[int]:
    """Descriptors of the device programs that are attached to this very cgroup."""
    numbers = (ctypes.c_uint32 * _BPF_CGROUP_MAX_PROGS)()
    attribute = struct.pack("=IIIIQI", cgroup, _BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(numbers), len(numbers))
    bpf(_BPF_PROG_QUERY, attribute, "bpf(BPF_PROG_QUERY)")
    call = "bpf(BPF_PROG_GET_FD_BY_ID)"
    return [bpf(_BPF_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0), call) for number in numbers if number]


def _replace_one(cgroup: int, program: int, old: int) -> bool:
    flags = _BPF_F_ALLOW_MULTI | _BPF_F_REPLACE
    try:
        attribute = struct.pack("=IIIII", cgroup, program, _BPF_CGROUP_DEVICE, flags, old)
        bpf(_BPF_PROG_ATTACH, attribute, "bpf(BPF_PROG_ATTACH)")
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.E2BIG):  # before 5.6
            return False
        raise
    return True


_Minors = dict[int | None, int]
_Majors = dict[int | None, _Minors]


def _allowed(rules: Iterable[Rule]) -> dict[str, _Majors]:
    """Bits of access by kind, major and minor; each entry holds what the wider ones around it allow as well."""
    table: dict[str, _Majors] = {kind: {None: {None: 0}} for kind in _KIND}
    listed = sorted(rules, key=lambda rule: (rule.major is not None, rule.minor is not None))  # the widest first
    for kind, major, minor, access in listed:
        if major is None and minor is not None:
            raise ValueError(f"a device rule for minor {minor} of every major can't be kept")
        bits = sum(_ACCESS[letter] for letter in set(access))
        for one in _KIND if kind == "a" else (kind,):
            widest = table[one][None][None]
            minors = table[one].setdefault(major, {None: widest})
            minors[minor] = minors.get(minor, minors[None]) | bits
    return table


def _branch_on_major(majors: _Majors) -> list[bytes]:
    code = []
    for major, minors in majors.items():
        if major is not None:
            code += _only_if(_MAJOR, major, _branch_on_minor(minors))
    return code + _verdict(majors[None][None])


def _branch_on_minor(minors: _Minors) -> list[bytes]:
    """One comparison a minor, and one verdict for all that may be used in the same way."""
    code = []
    for bits in sorted(set(minors.values())):
        alike = [minor for minor, theirs in minors.items() if theirs == bits and minor is not None]
        if not alike or bits == minors[None]:
            continue
        verdict = _verdict(bits)
        for left, minor in zip(range(len(alike) - 1, -1, -1), alike, strict=True):
            code.append(_instruction(_JUMP_IF_EQUAL, _MINOR, offset=left + 1, value=minor))
        code += [_instruction(_JUMP, 0, offset=len(verdict)), *verdict]
    return code + _verdict(minors[None])


def _only_if(register: int, value: int, body: list[bytes]) -> list[bytes]:
    return [_instruction(_JUMP_IF_NOT_EQUAL, register, offset=len(body), value=value), *body]


def _verdict(bits: int) -> list[bytes]:
    """End the program: 1 when nothing is wanted beyond `bits`."""
    return [
        _instruction(_AND, _WANTED, value=7 & ~bits),
        _instruction(_MOVE, _RESULT, value=0),
        _instruction(_JUMP_IF_NOT_EQUAL, _WANTED, offset=1, value=0),
        _instruction(_MOVE, _RESULT, value=1),
        _instruction(_EXIT),
    ]


def _answer(value: int) -> list[bytes]:
    return [_instruction(_MOVE, _RESULT, value=value), _instruction(_EXIT)]


def _instruction(code: int, destination: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn; every architecture we run on is little-endian."""
    return struct.pack("<BBhi", code, source << 4 | destination, offset, value)


def _load(program: bytes, kind: ProgramType) -> int:
    try:
        return _load_once(program, kind, None)
    except KernelError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise
    log = ctypes.create_string_buffer(_LOG_SIZE)
    try:
        return _load_once(program, kind, log)
    except KernelError as error:
        raise ProgramRefused(error.errno or 0, kind, log.value.decode(errors="replace")[-_LOG_TAIL:].strip()) from None


def _load_once(program: bytes, kind: ProgramType, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code, licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"Apache-2.0")
    attribute = struct.pack(
        "=IIQQIIQ",
        kind.number,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0 if log is None else 1,
        0 if log is None else len(log),
        0 if log is None else ctypes.addressof(log),
    )
    return bpf(_BPF_PROG_LOAD, attribute, "bpf(BPF_PROG_LOAD)")


def bpf(command: int, attribute: bytes, call: str) -> int:
    """Make the call; return what the kernel answers, for some commands a descriptor.  Raises KernelError."""
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    size = ctypes.c_uint(len(attribute))
    return syscall(own_architecture().numbers["bpf"], call, ctypes.c_int(command), ctypes.byref(buffer), size)


@contextmanager
def _unlimited_locked_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError) as error:
        raise KernelError("bpf(BPF_PROG_LOAD)", errno.EPERM, "a device program") from error
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
