"""One mount(2), made in a child that is born in another PID namespace and has nothing of ours in its memory.

proc, FUSE and autofs remember the PID namespace of whoever mounts them, and only a process born there counts.  Root
inside can look into such a process, write to its memory and open what it maps.  So it is no fork of ours but a program
of a few instructions in a file of its own; its arguments are in memory that nobody can write to, not even by ptrace;
and before it is born a filter leaves it this one call.
"""

import fcntl
import os
import struct
from typing import Final, NamedTuple, NoReturn

from msgspec import Struct

from berth.kernel import seccomp

_ADDRESS: Final = 0x10000
_SHARED: Final = 0x40000000
_HEADERS: Final = 64 + 56
_MAP_SHARED_FIXED: Final = 0x11
_CLONE_PARENT: Final = 0x00008000
_SIGCHLD: Final = 17
_SECCOMP_SET_MODE_FILTER: Final = 1


class _Machine(NamedTuple):
    """What differs: e_machine, the interpreter of the calls below, and the calls' numbers."""

    elf: int
    code: bytes
    mmap: int
    clone: int
    mount: int
    exit_group: int
    setfsuid: int
    setfsgid: int


# Makes the calls of the list that follows it, one after the other, as long as each returns what stands beside it, and
# ends with the errno of the first that does not.
_MACHINES: Final = {
    "x86_64": _Machine(
        62,
        bytes.fromhex(
            "488d1d39000000"  # lea rbx, [rip + list]
            "488b03 488b7b08 488b7310 488b5318 4c8b5320 4c8b4328 4c8b4b30"  # next: mov rax, rdi ... r9 from [rbx]
            "0f05"  # syscall
            "4883c340 483b43f8 74d9"  # add rbx, 64; cmp rax, [rbx - 8]; je next
            "89c7 f7df b8e7000000 0f05"  # mov edi, eax; neg edi; mov eax, 231 (exit_group); syscall
            "0f1f8000000000"  # nop
        ),
        mmap=9,
        clone=56,
        mount=165,
        exit_group=231,
        setfsuid=122,
        setfsgid=123,
    ),
    "aarch64": _Machine(
        183,
        bytes.fromhex(
            "93010010"  # adr x19, list
            "680240a9 610a41a9 631242a9 655243a9"  # next: ldp x8, x0 ... x5, x20 from [x19]
            "010000d4"  # svc 0
            "73020191 1f0014eb 20ffff54"  # add x19, x19, 64; cmp x0, x20; b.eq next
            "e003004b c80b80d2 010000d4"  # neg w0, w0; mov x8, 94 (exit_group); svc 0
        ),
        mmap=222,
        clone=220,
        mount=40,
        exit_group=94,
        setfsuid=151,
        setfsgid=152,
    ),
}


class MountArguments(NamedTuple):
    """The arguments of a mount(2); None stands for a null pointer."""

    source: bytes | None
    target: bytes
    filesystem: bytes
    flags: int
    data: bytes | None


class _Pinned(Struct, frozen=True):
    """An argument that has to be `value`."""

    index: int
    value: int
    mask: int = 0xFFFFFFFFFFFFFFFF
    negate: bool = False


class _Call(NamedTuple):
    number: int
    arguments: tuple[int, ...]
    returns: int


def prepare(call: MountArguments, uid: int, gid: int, lowest: int) -> int:
    """Return the descriptor, `lowest` at least, of a program that makes `call` for `run`, files being those of `uid`.

    Needs /proc, for a second way to the file that can't write.  Raises OSError, and KeyError on an unknown machine.
    """
    writable = os.memfd_create("mount", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        readable = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
        fd = fcntl.fcntl(readable, fcntl.F_DUPFD, lowest)
        os.close(readable)
        os.write(writable, _program(os.uname().machine, call, (uid, gid), fd))
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(writable, fcntl.F_ADD_SEALS, seals)
    finally:
        os.close(writable)
    return fd


def run(fd: int) -> NoReturn:
    """Become the program of `prepare`, with `fd` and all other descriptors that are not close-on-exec.

    Its child is born in the PID namespace that was entered before, is a child of the caller's parent, and ends with the
    errno of the mount.  The caller itself ends at once, with no meaning in its exit code once that child was born.
    Needs SYS_ADMIN for the filter.  Raises OSError.
    """
    os.execve(fd, ["mount"], {})


def _program(name: str, call: MountArguments, owner: tuple[int, int], fd: int) -> bytes:
    """An ELF file of one segment: headers, instructions, list, strings and filter.  See elf(5)."""
    machine = _MACHINES[name]
    start = _HEADERS + len(machine.code)
    strings, pointers = _strings(call, start + 64 * 7)
    filter_at = start + 64 * 7 + len(strings)
    made = (pointers[0], pointers[1], pointers[2], call.flags, pointers[3])
    birth = (_CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0)
    program = seccomp.assemble_allowing(
        (
            (machine.mount, tuple(_Pinned(index, value) for index, value in enumerate(made))),
            (machine.clone, tuple(_Pinned(index, value) for index, value in enumerate(birth))),
            (machine.exit_group, ()),
        ),
        name,
    )
    prog_at = filter_at + len(program)
    size = prog_at + 16
    calls = (
        _Call(machine.setfsgid, (owner[1],), 0),  # returns what it was before: root's
        _Call(machine.setfsuid, (owner[0],), 0),
        _Call(machine.mmap, (_SHARED, size, 1, _MAP_SHARED_FIXED, fd, 0), _SHARED),
        _Call(seccomp.SYS_SECCOMP[name], (_SECCOMP_SET_MODE_FILTER, 0, _ADDRESS + prog_at), 0),
        _Call(machine.clone, birth, 0),
        _Call(machine.mount, made, 0),
        _Call(machine.exit_group, (0,), 0),
    )
    listed = b"".join(
        struct.pack("<8Q", one.number, *[*one.arguments, 0, 0, 0, 0, 0, 0][:6], one.returns) for one in calls
    )
    fprog = struct.pack("<HxxxxxxQ", len(program) // 8, _ADDRESS + filter_at)
    return _headers(machine.elf, size) + machine.code + listed + strings + program + fprog


def _strings(call: MountArguments, offset: int) -> tuple[bytes, list[int]]:
    """The strings one behind the other, padded, and where each will be in the memory that is shared."""
    packed, pointers = b"", []
    for text in (call.source, call.target, call.filesystem, call.data):
        pointers.append(0 if text is None else _SHARED + offset + len(packed))
        packed += b"" if text is None else text + b"\0"
    padded = len(packed) + 4096  # the kernel copies a page of options
    return packed.ljust(padded + -padded % 8, b"\0"), pointers


def _headers(machine: int, size: int) -> bytes:
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64-bit, little-endian
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", identity, 2, machine, 1, _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, _ADDRESS)  # PT_LOAD, read and execute
    return header + segment
