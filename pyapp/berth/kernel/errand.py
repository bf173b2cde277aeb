"""One mount(2), made in a child that is born in another PID namespace and has nothing of ours in its memory.

proc, FUSE and autofs remember the PID namespace of whoever mounts them, and only a process born there counts.  Root
inside can look into such a process, write to its memory and open what it maps.  So it is no fork of ours but a program
of a few instructions in a file of its own; its arguments are in memory that nobody can write to, not even by ptrace;
and before it is born a filter leaves it this one call.  The way into the caller's namespaces is that program's, too: a
process that executes it at once costs a tenth of a fork of Python.
"""

import os
import struct
from fcntl import F_ADD_SEALS, F_DUPFD_CLOEXEC, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from typing import Final, NamedTuple

from msgspec import Struct

from berth.kernel import seccomp
from berth.kernel.capabilities import CAPABILITY_VERSION_3
from berth.kernel.namespaces import CLONE_FLAGS
from berth.kernel.syscalls import SECCOMP, architectures

_ADDRESS: Final = 0x10000
_SHARED: Final = 0x40000000
_HEADERS: Final = 64 + 56
_MAP_SHARED_FIXED: Final = 0x11
_CLONE_PARENT: Final = 0x00008000
_SIGCHLD: Final = 17
_SECCOMP_SET_MODE_FILTER: Final = 1
_SYS_CLOSE_RANGE: Final = 436  # 5.9
_LAST_DESCRIPTOR: Final = 0xFFFFFFFF
_STREAMS: Final = range(3)


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
    setgroups: int
    capset: int
    setns: int
    fchdir: int
    chroot: int


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
        setgroups=116,
        capset=126,
        setns=308,
        fchdir=81,
        chroot=161,
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
        setgroups=159,
        capset=91,
        setns=268,
        fchdir=50,
        chroot=51,
    ),
}


class MountArguments(NamedTuple):
    """The arguments of a mount(2); None stands for a null pointer."""

    source: bytes | None
    target: bytes
    filesystem: bytes
    flags: int
    data: bytes | None


class Place(NamedTuple):
    """Where the mount is to be made: descriptors of namespaces by their words in joining order, of root and folder."""

    namespaces: dict[str, int]
    root: int
    cwd: int


class Identity(NamedTuple):
    """Who is to make it: whose files are seen, and with which capabilities (a bit mask)."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: int


class _Pinned(Struct, frozen=True):
    """An argument that has to be `value`."""

    index: int
    value: int
    mask: int = 0xFFFFFFFFFFFFFFFF
    negate: bool = False


class _Call(NamedTuple):
    number: int
    arguments: tuple[int, ...]
    returns: int = 0


def start(call: MountArguments, place: Place, identity: Identity, copies: dict[int, int]) -> int:
    """Start a process that makes `call`, and return its pid; all of it are children of the caller, to be waited for.

    It ends with the errno of what failed.  Where nothing did, its exit code means nothing: it has left a child, born in
    the PID namespace of `place`, which ends with the errno of the mount.  That has no descriptors but `copies`, each at
    the number that is its key, and one of a file that it can only read.

    Needs /proc and SYS_ADMIN.  Raises OSError, and KeyError on an unknown machine.
    """
    own = max((_STREAMS[-1], *copies)) + 1
    sources = (*place.namespaces.values(), place.root, place.cwd)
    numbers = range(own + 1, own + 1 + len(sources))
    there = Place(dict(zip(place.namespaces, numbers[:-2], strict=True)), root=numbers[-2], cwd=numbers[-1])
    file = sealed(_program(os.uname().machine, call, there, identity, own))
    wanted = {**copies, own: file, **dict(zip(numbers, sources, strict=True))}
    aside: dict[int, int] = {}  # none of them is in the way of another when it is put where it belongs
    try:
        for number, fd in wanted.items():
            aside[number] = fcntl(fd, F_DUPFD_CLOEXEC, numbers.stop)
        placed = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in aside.items()]
        closed = [(os.POSIX_SPAWN_CLOSE, number) for number in _STREAMS if number not in copies]
        return os.posix_spawn(f"/proc/self/fd/{own}", ["mount"], {}, file_actions=(*placed, *closed))
    finally:
        for fd in (file, *aside.values()):
            os.close(fd)


def sealed(program: bytes) -> int:
    """Return a descriptor, only for reading, of a file of `program` that nobody can change."""
    writable = os.memfd_create("mount", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(writable, program)
        fcntl(writable, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)


def _program(name: str, call: MountArguments, place: Place, identity: Identity, fd: int) -> bytes:
    """An ELF file of one segment: headers, strings, filter, identity, instructions, list.  See elf(5).

    `fd` is the number that the file itself has there, and those of `place` are numbers of there as well.
    """
    machine = _MACHINES[name]
    strings, pointers = _strings(call)
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
    filter_at = _HEADERS + len(strings)
    prog_at = filter_at + len(program)
    fprog = struct.pack("<HxxxxxxQ", len(program) // 8, _ADDRESS + filter_at)
    identity_at = prog_at + len(fprog)
    owned, becoming = _become(machine, identity, _ADDRESS + identity_at)
    calls = (
        *(_Call(machine.setns, (number, CLONE_FLAGS[word])) for word, number in place.namespaces.items()),
        _Call(machine.fchdir, (place.root,)),
        _Call(machine.chroot, (_ADDRESS + identity_at,)),
        _Call(machine.fchdir, (place.cwd,)),
        _Call(_SYS_CLOSE_RANGE, (fd + 1, _LAST_DESCRIPTOR, 0)),
        *becoming,
        _Call(machine.mmap, (_SHARED, identity_at, 1, _MAP_SHARED_FIXED, fd, 0), _SHARED),
        _Call(SECCOMP[architectures(name)[0].audit], (_SECCOMP_SET_MODE_FILTER, 0, _ADDRESS + prog_at)),
        _Call(machine.clone, birth),
        _Call(machine.mount, made),
        _Call(machine.exit_group, (0,)),
    )
    listed = b"".join(
        struct.pack("<8Q", one.number, *[*one.arguments, 0, 0, 0, 0, 0, 0][:6], one.returns) for one in calls
    )
    code_at = identity_at + len(owned)
    rest = strings + program + fprog + owned + machine.code + listed
    return _headers(machine.elf, code_at, _HEADERS + len(rest)) + rest


def _become(machine: _Machine, identity: Identity, address: int) -> tuple[bytes, tuple[_Call, ...]]:
    """What has to lie at `address`, "." at first, for the calls that take on `identity`; and these calls.

    Who gives up uid 0 for files loses capabilities by that, and has them back by the last call.
    """
    groups = struct.pack(f"<{len(identity.groups)}I", *identity.groups)
    low, high = identity.capabilities & 0xFFFFFFFF, identity.capabilities >> 32
    header = struct.pack("<8sIi", b".", CAPABILITY_VERSION_3, 0)
    data = struct.pack("<6I", low, low, 0, high, high, 0)
    packed = header + data + groups
    calls = (
        _Call(machine.setgroups, (len(identity.groups), address + len(header) + len(data))),
        _Call(machine.setfsgid, (identity.gid,)),  # returns what it was before: root's
        _Call(machine.setfsuid, (identity.uid,)),
        _Call(machine.capset, (address + 8, address + len(header))),
    )
    return packed.ljust(len(packed) + -len(packed) % 8, b"\0"), calls


def _strings(call: MountArguments) -> tuple[bytes, list[int]]:
    """The strings one behind the other, padded, and where each will be in the memory that is shared."""
    packed, pointers = b"", []
    for text in (call.source, call.target, call.filesystem, call.data):
        pointers.append(0 if text is None else _SHARED + _HEADERS + len(packed))
        packed += b"" if text is None else text + b"\0"
    padded = len(packed) + 4096  # the kernel copies a page of options
    return packed.ljust(padded + -padded % 8, b"\0"), pointers


def _headers(machine: int, code_at: int, size: int) -> bytes:
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64-bit, little-endian
    header = struct.pack("<16sHHIQQQIHHHHHH", identity, 2, machine, 1, _ADDRESS + code_at, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, _ADDRESS)  # PT_LOAD, read and execute
    return header + segment
