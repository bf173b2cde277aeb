"""The guard over BPF programs, on the running kernel: one process asks by bare calls, another answers."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from berth.host import Host, Rootfs
from berth.kernel.capabilities import set_capabilities
from berth.kernel.namespaces import unshare
from berth.kernel.syscalls import I386, X86_64
from berth.plan import plan
from berth.plan.model import Plan
from berth.spec import StartOptions
from tests.calls32 import call_32
from tests.forked import Answer
from tests.guarded import MACHINE, PLAN, SPEC, guarded, low_memory, try_mount

pytestmark = pytest.mark.system

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
BPF: Final = X86_64.numbers["bpf"] if MACHINE == "x86_64" else 280
UNGUARDED: Final = plan(SPEC, StartOptions(), Host(kernel=(6, 5), machine=MACHINE), Rootfs(init="/sbin/init"))

# enum bpf_cmd, bpf_prog_type, bpf_attach_type, and helpers
MAP_CREATE, MAP_LOOKUP, PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_QUERY = 0, 1, 5, 8, 9, 16
SCHED_CLS, CGROUP_SKB, CGROUP_DEVICE, TRACING = 3, 8, 15, 26
AT_INET_INGRESS, AT_DEVICE, AT_TCX_INGRESS = 0, 6, 46
ALLOW_MULTI: Final = 2
MAP_LOOKUP_ELEM, PROBE_READ_KERNEL = 1, 113

Instruction = tuple[int, int, int, int]  # code, registers (source above, destination below), offset, value
ALLOW: Final[tuple[Instruction, ...]] = ((0xB7, 0, 0, 1), (0x95, 0, 0, 0))
READ_THE_KERNEL: Final[tuple[Instruction, ...]] = (
    (0xBF, 0xA1, 0, 0),  # r1 = frame
    (0x07, 0x01, 0, -8),
    (0xB7, 0x02, 0, 8),
    (0xB7, 0x03, 0, 0),
    (0x85, 0x00, 0, PROBE_READ_KERNEL),
    *ALLOW,
)


def with_map(descriptor: int) -> tuple[Instruction, ...]:
    """Look something up in the map, and allow whatever is asked."""
    return (
        (0x62, 0x0A, -4, 0),  # *(u32 *)(frame - 4) = 0
        (0xBF, 0xA2, 0, 0),
        (0x07, 0x02, 0, -4),
        (0x18, 0x11, 0, descriptor),
        (0, 0, 0, 0),
        (0x85, 0, 0, MAP_LOOKUP_ELEM),
        *ALLOW,
    )


def bpf(command: int, attribute: bytes) -> int:
    """Make the call; return a descriptor or 0, or the negative errno."""
    done = int(LIBC.syscall(ctypes.c_long(BPF), ctypes.c_int(command), attribute, ctypes.c_uint(len(attribute))))
    return -ctypes.get_errno() if done < 0 else done


def load(kind: int, instructions: tuple[Instruction, ...], **more: int) -> int:
    code = b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions)
    licence = ctypes.create_string_buffer(b"GPL")
    memory = ctypes.create_string_buffer(code, len(code))
    addresses = ctypes.addressof(memory), ctypes.addressof(licence)
    flags, device = more.get("flags", 0), more.get("device", 0)
    attribute = struct.pack("=IIQQIIQII16sII", kind, len(instructions), *addresses, 0, 0, 0, 0, flags, b"", device, 0)
    return bpf(PROG_LOAD, attribute)


def attach(target: int, program: int, place: int, command: int = PROG_ATTACH) -> int:
    flags = ALLOW_MULTI if command == PROG_ATTACH and place != AT_TCX_INGRESS else 0
    return bpf(command, struct.pack("=IIIII", target, program, place, flags, 0))


def attached(cgroup: int, place: int) -> int:
    """How many programs are attached to this very cgroup."""
    numbers = (ctypes.c_uint32 * 8)()
    attribute = bytearray(struct.pack("=IIIIQII", cgroup, place, 0, 0, ctypes.addressof(numbers), 8, 0))
    memory = (ctypes.c_char * len(attribute)).from_buffer(attribute)
    size = ctypes.c_uint(len(attribute))
    assert LIBC.syscall(ctypes.c_long(BPF), ctypes.c_int(PROG_QUERY), memory, size) == 0
    return sum(number != 0 for number in numbers)


def root_inside(body: Callable[[], Answer], made: Plan = PLAN) -> Answer:
    """Return what `body` returns with a container's capabilities, in a guarded child."""

    def confined() -> Answer:
        set_capabilities(PLAN.capabilities)
        return body()

    return guarded(confined, made)


def test_a_program_that_reads_the_kernels_memory_is_refused() -> None:
    def body() -> list[int]:
        return [load(kind, READ_THE_KERNEL) for kind in (CGROUP_DEVICE, CGROUP_SKB)]

    assert all(answer < 0 for answer in root_inside(body))
    assert all(answer > 0 for answer in root_inside(body, UNGUARDED)), "else this would prove nothing"


def test_a_program_for_an_interface_of_the_network_is_refused_without_net_admin() -> None:
    assert root_inside(lambda: load(SCHED_CLS, ALLOW)) == -errno.EPERM
    assert root_inside(lambda: load(SCHED_CLS, ALLOW), UNGUARDED) > 0, "else this would prove nothing"


def test_a_program_that_was_had_elsewhere_is_not_attached_to_an_interface() -> None:
    """The numbers of the host's programs are no secret, and by its number one is had."""
    program = load(SCHED_CLS, ALLOW)
    assert program > 0

    def body() -> list[int]:
        unshare("network")
        loopback = 1
        return [attach(loopback, program, AT_TCX_INGRESS, command) for command in (PROG_ATTACH, PROG_DETACH)]

    try:
        assert root_inside(body) == [-errno.EPERM] * 2
        assert root_inside(body, UNGUARDED) == [0, 0], "else this would prove nothing"
    finally:
        os.close(program)


def test_programs_of_a_cgroup_are_loaded_and_attached_with_their_maps() -> None:
    def body() -> list[int]:
        assert try_mount("x", "cgroup2") == 0
        folder = Path("/mnt/here/berth-test-of-the-bpf-guard")
        folder.mkdir()
        try:
            cgroup = os.open(folder, os.O_RDONLY)
            table = bpf(MAP_CREATE, struct.pack("=IIIII", 2, 4, 8, 1, 0))  # an array of one
            device, traffic = load(CGROUP_DEVICE, with_map(table)), load(CGROUP_SKB, with_map(table))
            made = [attach(cgroup, device, AT_DEVICE), attach(cgroup, traffic, AT_INET_INGRESS)]
            made += [attached(cgroup, AT_DEVICE), attached(cgroup, AT_INET_INGRESS)]
            made += [attach(cgroup, device, AT_DEVICE, PROG_DETACH), attached(cgroup, AT_DEVICE)]
            return [*made, int(os.get_inheritable(device))]
        finally:
            folder.rmdir()

    assert root_inside(body) == [0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((TRACING, ALLOW, {}), errno.EPERM),
        ((CGROUP_DEVICE, ALLOW, {"flags": 1 << 16}), errno.EPERM),
        ((CGROUP_DEVICE, ALLOW, {"device": 1}), errno.EPERM),
        ((CGROUP_DEVICE, (), {}), errno.E2BIG),
        ((CGROUP_DEVICE, ((0x95, 0, 0, 0),), {}), errno.EACCES),
        ((CGROUP_DEVICE, with_map(999), {}), errno.EBADF),
    ],
    ids=["of all processes", "by a token", "for a device", "empty", "without an answer", "with a map that is none"],
)
def test_another_program_is_refused(
    arguments: tuple[int, tuple[Instruction, ...], dict[str, int]], expected: int
) -> None:
    kind, instructions, more = arguments
    assert root_inside(lambda: load(kind, instructions, **more)) == -expected


def test_a_wrong_call_fails_as_the_kernel_has_it() -> None:
    def body() -> list[int]:
        nowhere = LIBC.syscall(ctypes.c_long(BPF), PROG_LOAD, ctypes.c_void_p(8), ctypes.c_uint(72))
        first = ctypes.get_errno()
        long = LIBC.syscall(ctypes.c_long(BPF), PROG_LOAD, ctypes.c_void_p(8), ctypes.c_uint(1 << 20))
        return [nowhere, first, long, ctypes.get_errno(), attach(999, 998, AT_DEVICE)]

    assert root_inside(body) == [-1, errno.EFAULT, -1, errno.E2BIG, -errno.EBADF]


def test_net_admin_and_perfmon_count_where_they_were_given() -> None:
    def body() -> list[bool]:
        return [load(SCHED_CLS, ALLOW) > 0, load(CGROUP_DEVICE, READ_THE_KERNEL) > 0]

    assert guarded(body) == [True, True]


def test_who_may_less_is_left_to_the_kernel() -> None:
    def as_nobody() -> int:
        os.setresuid(65534, 65534, 65534)
        return load(CGROUP_DEVICE, ALLOW)

    def in_a_user_namespace() -> int:
        unshare("user")
        return load(CGROUP_DEVICE, ALLOW)

    assert [root_inside(as_nobody), root_inside(in_a_user_namespace)] == [-errno.EPERM] * 2


@pytest.mark.skipif(MACHINE != "x86_64", reason="32-bit calls are made by x86 instructions")
def test_a_32_bit_call_is_no_way_round() -> None:
    def body() -> list[int]:
        code = b"".join(struct.pack("<BBhi", *instruction) for instruction in ALLOW)
        memory, (instructions, licence, _) = low_memory(code, b"GPL", b"")
        answers = []
        for kind in (SCHED_CLS, CGROUP_DEVICE):
            attribute = struct.pack("=IIQQ", kind, len(ALLOW), instructions, licence)
            memory[1024 : 1024 + len(attribute)] = attribute
            answers.append(call_32(I386.numbers["bpf"], PROG_LOAD, instructions + 1024, len(attribute)))
        return [answers[0], int(answers[1] > 0), len(memory)]

    assert root_inside(body) == [-errno.EPERM, 1, 4096]
