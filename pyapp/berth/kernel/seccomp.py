"""seccomp filters: rules assembled to classic BPF, and their installation.  See seccomp(2).

The kernel walks the filter for every system call of the container (before 5.11 without a cache), hence a binary search
by number.
"""

import ctypes
import errno
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple, Protocol

from berth.kernel.call import check, libc, syscall
from berth.kernel.classic_bpf import (
    AND,
    INSTRUCTION_BYTES,
    JUMP_EQUAL,
    JUMP_NOT_LESS,
    LOAD_WORD,
    RETURN,
    Code,
    Instruction,
    branch,
    packed,
)
from berth.kernel.syscalls import NAMES, SECCOMP, Architecture, architectures, own_architecture

PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2
SECCOMP_RET_ALLOW: Final = 0x7FFF0000
SECCOMP_RET_ERRNO: Final = 0x00050000
SECCOMP_RET_USER_NOTIF: Final = 0x7FC00000  # 5.0
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 8  # 5.0
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Final = 32  # 5.19
BPF_MAXINSNS: Final = 4096

# struct seccomp_data; all our architectures are little-endian
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16


class ArgumentTest(Protocol):
    """True where `argument[index] & mask` equals `value`, or differs from it when `negate` is set (64-bit numbers)."""

    @property
    def index(self) -> int: ...
    @property
    def mask(self) -> int: ...
    @property
    def value(self) -> int: ...
    @property
    def negate(self) -> bool: ...


class SyscallRule(Protocol):
    """Answer the calls `names` with `errno` (its name), or as a listener says, when all `when` tests hold."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def errno(self) -> str: ...
    @property
    def asks(self) -> bool: ...
    @property
    def when(self) -> Sequence[ArgumentTest]: ...


def assemble(rules: Iterable[SyscallRule], machine: str) -> bytes:
    """Return the filter for a kernel of `machine` (as in uname) as an array of struct sock_filter.

    It covers every architecture that kernel runs: 32-bit programs work and are no way round it.  Where several rules
    fit a call the first one answers, and what no rule fits is allowed, among it arm's private calls (0xf0001 and up).
    x32 and architectures without a table get ENOSYS, never a kill.

    Raises ValueError for an unknown machine, call or errno, and for rules too many for one filter.
    """
    return _assemble(tuple(rules), machine)


@lru_cache(maxsize=8)  # containers differ little in their rules, and a service that knows the filter forks it along
def _assemble(listed: tuple[SyscallRule, ...], machine: str) -> bytes:
    _refuse_unknown_names(listed)
    code = _answer(errno.ENOSYS)
    for architecture in reversed(architectures(machine)):
        code = branch(JUMP_EQUAL, architecture.audit, _filter_of(architecture, listed), code)
    code = (Instruction(LOAD_WORD, _ARCHITECTURE), *code)
    if len(code) > BPF_MAXINSNS:
        raise ValueError(f"{len(listed)} rules make a filter of {len(code)} instructions; {BPF_MAXINSNS} are allowed")
    return packed(code)


def assemble_allowing(calls: Iterable[tuple[int, Sequence[ArgumentTest]]], machine: str) -> bytes:
    """Return a filter that allows `calls` only: numbers of `machine`'s own calls, with what their arguments must be.

    Everything else gets EPERM.  Raises ValueError for an unknown machine.
    """
    refuse = _answer(errno.EPERM)
    code = refuse
    for number, tests in calls:
        code = branch(JUMP_EQUAL, number, _guarded(tests, _ALLOW) + refuse, code)
    own = (Instruction(LOAD_WORD, _NUMBER), *code)
    return packed(
        (
            Instruction(LOAD_WORD, _ARCHITECTURE),
            *branch(JUMP_EQUAL, architectures(machine)[0].audit, own, refuse),
        )
    )


def install(program: bytes) -> None:
    """Put the calling thread under `program` (from `assemble`) for good, through every fork and execve.

    NO_NEW_PRIVS is not set, since sudo must go on working inside; so the caller needs CAP_SYS_ADMIN in its user
    namespace.  Raises KernelError: EACCES without that capability, EINVAL on a kernel without CONFIG_SECCOMP_FILTER.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    argument = _SockFprog(len(program) // INSTRUCTION_BYTES, ctypes.addressof(instructions))
    check(
        libc.prctl(ctypes.c_int(PR_SET_SECCOMP), ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(argument)),
        "prctl(PR_SET_SECCOMP)",
    )


def install_with_listener(program: bytes) -> int:
    """Put the calling thread under `program` as `install` does; return the descriptor that hears what it asks.

    A caller whose question was read is woken by its death only, so that nothing is done twice for a signal's sake.
    Raises KernelError: EBUSY when the thread is under a filter with a listener already.  See seccomp_unotify(2), 5.19.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    argument = _SockFprog(len(program) // INSTRUCTION_BYTES, ctypes.addressof(instructions))
    return syscall(
        SECCOMP[own_architecture().audit],
        "seccomp",
        ctypes.c_uint(SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
        ctypes.byref(argument),
    )


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _refuse_unknown_names(rules: Sequence[SyscallRule]) -> None:
    """A misspelt call would silently stay allowed; a misspelt errno would stop a start half-way."""
    for rule in rules:
        if unknown := set(rule.names) - NAMES:
            raise ValueError(f"no numbers are known for the system calls {', '.join(sorted(unknown))}")
        if rule.errno not in _ERRNO:
            raise ValueError(f"{rule.errno} is not the name of an errno")


_ERRNO: Final = {name: number for number, name in errno.errorcode.items()}


def _filter_of(architecture: Architecture, rules: Sequence[SyscallRule]) -> Code:
    return (Instruction(LOAD_WORD, _NUMBER), *_search(_spans(architecture, rules)))


class _Span(NamedTuple):
    """The numbers from `first` to the next span's first get `code`."""

    first: int
    code: Code


def _spans(architecture: Architecture, rules: Sequence[SyscallRule]) -> list[_Span]:
    """Cut all 2^32 numbers into spans, each treated unlike its neighbours."""
    filtered = {
        number: _verdict([rule for rule in rules if name in rule.names])
        for name, number in architecture.numbers.items()
    }
    pieces = [(number, number, code) for number, code in filtered.items()]
    pieces += [(first, last, _answer(errno.ENOSYS)) for first, last in architecture.foreign]
    spans = [_Span(0, _ALLOW)]
    for first, last, code in sorted(pieces):
        if spans[-1].first == first:
            spans.pop()
        spans += [_Span(first, code), _Span(last + 1, _ALLOW)]
    return [next(alike) for _, alike in groupby(spans, key=lambda span: span.code)]


def _search(spans: Sequence[_Span]) -> Code:
    """Find the accumulator's span by halving."""
    if len(spans) == 1:
        return spans[0].code
    middle = len(spans) // 2
    return branch(JUMP_NOT_LESS, spans[middle].first, _search(spans[middle:]), _search(spans[:middle]))


def _verdict(rules: Sequence[SyscallRule]) -> Code:
    """Answer a call to which `rules` apply, all of them for this call."""
    code = _ALLOW
    for rule in reversed(rules):
        answer = _ASK if rule.asks else _answer(_ERRNO[rule.errno])
        code = _guarded(rule.when, answer) + code if rule.when else answer
    return code


def _guarded(tests: Sequence[ArgumentTest], code: Code) -> Code:
    """Run `code` where all `tests` hold; where one fails, leap over its end."""
    for test in reversed(tests):
        code = _unequal(test, code) if test.negate else _equal(test, code)
    return code


def _equal(test: ArgumentTest, code: Code) -> Code:
    for half in reversed(_halves(test)):
        code = (*half.load, Instruction(JUMP_EQUAL, half.value, jf=_near(code)), *code)
    return code


def _unequal(test: ArgumentTest, code: Code) -> Code:
    """The last half decides; an earlier one that differs is enough and leaps to `code`."""
    comparison: Code = ()
    for half in reversed(_halves(test)):
        jump = (
            Instruction(JUMP_EQUAL, half.value, jf=len(comparison))
            if comparison
            else Instruction(JUMP_EQUAL, half.value, jt=_near(code))
        )
        comparison = (*half.load, jump, *comparison)
    return comparison + code


class _Half(NamedTuple):
    """32 bits of an argument: how to load and mask them, and what they are compared with."""

    load: Code
    value: int


def _halves(test: ArgumentTest) -> list[_Half]:
    """BPF works on 32 bits, so a 64-bit test is two.  A half that no bit is asked of is left out, but one stays."""
    halves: list[_Half] = []
    for offset, shift in ((0, 0), (4, 32)):
        mask, value = (test.mask >> shift) & 0xFFFFFFFF, (test.value >> shift) & 0xFFFFFFFF
        if mask or value or (offset == 4 and not halves):
            load = Instruction(LOAD_WORD, _ARGUMENTS + 8 * test.index + offset)
            halves.append(_Half((load,) if mask == 0xFFFFFFFF else (load, Instruction(AND, mask)), value))
    return halves


def _near(code: Code) -> int:
    if len(code) > 255:
        raise ValueError("a rule has more argument tests than a conditional jump can leap over")
    return len(code)


def _answer(number: int) -> Code:
    return (Instruction(RETURN, SECCOMP_RET_ERRNO | number),)


_ALLOW: Final[Code] = (Instruction(RETURN, SECCOMP_RET_ALLOW),)
_ASK: Final[Code] = (Instruction(RETURN, SECCOMP_RET_USER_NOTIF),)
