"""The assembled filter, run by a small classic-BPF machine and compared with the rules and with libseccomp.

Every comparison is over (architecture, number, arguments): what the kernel hands a filter as struct seccomp_data.
"""

import ctypes
import errno
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.host import Host
from berth.kernel.seccomp import assemble, assemble_allowing
from berth.kernel.syscalls import AARCH64, ARM, I386, NAMES, RISCV64, X86_64, Architecture, architectures
from berth.plan.model import ArgumentTest, SyscallRule
from berth.plan.seccomp import plan_syscall_rules
from berth.spec import Spec

ALLOW: Final = 0x7FFF0000
ENOSYS: Final = 0x00050000 | errno.ENOSYS
EPERM: Final = 0x00050000 | errno.EPERM
ASK: Final = 0x7FC00000
ALL: Final = {"x86_64": X86_64, "i386": I386, "aarch64": AARCH64, "arm": ARM, "riscv64": RISCV64}
MACHINES: Final = {"x86_64": "x86_64", "i386": "x86_64", "aarch64": "aarch64", "arm": "aarch64", "riscv64": "riscv64"}
MASK32: Final = 0xFFFFFFFF
MASK64: Final = 0xFFFFFFFF_FFFFFFFF

FULL: Final = plan_syscall_rules(
    Spec(name="web", block_nested_namespaces=True), Host(kernel=(4, 14), machine="aarch64", root_is_ramfs=True)
)

GUARDED: Final = plan_syscall_rules(Spec(name="web"), Host(kernel=(6, 6), machine="aarch64"), guarded=True)

Program = list[tuple[int, int, int, int]]


def load(program: bytes) -> Program:
    return list(struct.iter_unpack("=HBBI", program))


def run(program: Program, audit: int, number: int, arguments: Sequence[int] = ()) -> tuple[int, int]:
    """Return the verdict and how many instructions it took; any other instruction or a wild jump is an error."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.unpack("<16I", struct.pack("<IIQ6Q", number, audit, 0, *padded))
    accumulator = at = steps = 0
    while True:
        code, jt, jf, k = program[at]
        at, steps = at + 1, steps + 1
        match code:
            case 0x20:  # load a word
                assert k % 4 == 0
                accumulator = data[k // 4]
            case 0x54:  # and
                accumulator &= k
            case 0x05:  # jump
                at += k
            case 0x15:  # jump if equal
                at += jt if accumulator == k else jf
            case 0x25:  # jump if greater
                at += jt if accumulator > k else jf
            case 0x35:  # jump if not less
                at += jt if accumulator >= k else jf
            case 0x45:  # jump if any bit set
                at += jt if accumulator & k else jf
            case 0x06:  # return
                return k, steps
            case _:
                raise AssertionError(f"instruction {code:#x} at {at - 1}")


def verdict(program: Program, architecture: Architecture, number: int, arguments: Sequence[int] = ()) -> int:
    return run(program, architecture.audit, number, arguments)[0]


def read_plainly(
    rules: Sequence[SyscallRule], architecture: Architecture, number: int, arguments: Sequence[int]
) -> int:
    """What the rules say, word by word."""
    if any(first <= number <= last for first, last in architecture.foreign):
        return ENOSYS
    names = {name for name, its_number in architecture.numbers.items() if its_number == number}
    for rule in rules:
        tests = [((arguments[t.index] & t.mask) == t.value) != t.negate for t in rule.when]
        if names & set(rule.names) and all(tests):
            return action_of(rule)
    return ALLOW


def action_of(rule: SyscallRule) -> int:
    return ASK if rule.asks else 0x00050000 | int(getattr(errno, rule.errno))


# Numbers and arguments at which a filter could go wrong.

EDGE_NUMBERS: Final = [
    *range(601),
    *(0x0F0000 + call for call in range(7)),  # arm's private calls
    *(0x900000 + call for call in (25, 120, 128, 309)),  # arm's OABI numbers
    *(0x40000000 + call for call in (0, 39, 56, 175, 246, 272, 435, 528)),  # x32
    0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0x800000AF, 0xBFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF,
]  # fmt: skip
EDGE_VALUES: Final = [
    *(0, 1, 0x11, 0x40, 0x80, 0x100, MASK32, 1 << 32, MASK64, 1 << 63, 0x80000000),
    *(1 << bit for bit in range(17, 31)),
    *(0x00020011, 0x7E020000, 0x7E020080, 0x01200011, 0x003D0F00, 0x00020000_00000000),
    *(0xDEADBEEF, 0xFFFFFFFF_DEADBEEF, 0x1_DEADBEEF, 0xDEADBEEF_00000000, 0xDEADBEEE, 0xCAFEBABE, 0xFAFAFAFA),
    *(0xFEE1DEAD, 0xFFFFFFFF_FEE1DEAD, 672274793, 85072278, 369367448, 537993216, (1 << 32) + 672274793, 10006),
]


def arguments_for(architecture: Architecture, number: int) -> Iterator[tuple[int, ...]]:
    """All edge values for a filtered call, in pairs for reboot; a 32-bit program's arguments have no upper half."""
    width = MASK64 if architecture.audit & 0x80000000 else MASK32
    if number not in architecture.numbers.values():
        yield (0,) * 6
        yield (0x7E020080,) * 6
        return
    second = EDGE_VALUES if number == architecture.numbers["reboot"] else [0]
    for first in EDGE_VALUES:
        for other in second:
            yield (first & width, other & width, 0, 0, 0, 0)


@pytest.mark.parametrize("name", ALL)
def test_the_filter_says_what_the_rules_say(name: str) -> None:
    architecture, program = ALL[name], load(assemble(FULL, MACHINES[name]))
    for number in EDGE_NUMBERS:
        for arguments in arguments_for(architecture, number):
            expected = read_plainly(FULL, architecture, number, arguments)
            assert verdict(program, architecture, number, arguments) == expected, (number, arguments)


@pytest.mark.parametrize("name", ALL)
def test_each_filtered_call_is_answered_on_each_architecture(name: str) -> None:
    architecture, program = ALL[name], load(assemble(FULL, MACHINES[name]))
    answers = {call: verdict(program, architecture, number) for call, number in architecture.numbers.items()}
    conditional = {"prctl", "clone", "unshare", "mount", "fsopen", "fsconfig", "ioctl", "fanotify_mark", "bpf"}
    conditional |= {"socket", "getsockopt", "setsockopt"}
    enosys = {"keyctl", "add_key", "request_key", "clone3", "fspick", "io_uring_setup", "listmount", "statmount"}
    assert answers == {
        call: ALLOW if call in conditional else ENOSYS if call in enosys else EPERM for call in architecture.numbers
    }


# New mounts, about which the monitor is asked.

MS_REMOUNT, MS_BIND, MS_MOVE = 32, 4096, 8192
PROPAGATION: Final = tuple(1 << bit for bit in (17, 18, 19, 20))
MGC: Final = 0xC0ED0000
MOUNT_FLAGS: Final = [
    old | one | other | high
    for old in (0, MGC)
    for one in (0, 1, 14, 1 << 14, 1 << 21, *PROPAGATION, 0x80000000, 0x400000)
    for other in (0, MS_REMOUNT, MS_BIND, MS_MOVE)
    for high in (0, 1 << 32)
]


def makes_a_new_mount(flags: int) -> bool:
    """What path_mount in fs/namespace.c does, in its order."""
    if flags & 0xFFFF0000 == MGC:
        flags &= 0xFFFF
    return not flags & (MS_REMOUNT | MS_BIND | MS_MOVE | sum(PROPAGATION))


@pytest.mark.parametrize("name", ALL)
def test_every_new_mount_is_asked_about_and_no_other(name: str) -> None:
    """The old magic number looks like a change of propagation, and the kernel takes it for no flags at all."""
    architecture = ALL[name]
    program = load(assemble([rule for rule in GUARDED if rule.asks], MACHINES[name]))
    for flags in MOUNT_FLAGS:
        answer = verdict(program, architecture, architecture.numbers["mount"], (0, 0, 0, flags, 0))
        assert answer == (ASK if makes_a_new_mount(flags) else ALLOW), hex(flags)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_a_filter_that_allows_little_allows_no_more(name: str) -> None:
    architecture, pinned = ALL[name], ArgumentTest(index=3, mask=MASK64, value=1 << 40 | 14)
    program = load(assemble_allowing([(40, (pinned,)), (94, ())], name))
    allowed = {number for number in range(600) if verdict(program, architecture, number) == ALLOW}
    assert allowed == {94}
    assert verdict(program, architecture, 40, (1, 2, 3, 1 << 40 | 14)) == ALLOW
    assert {verdict(program, architecture, 40, (0, 0, 0, flags)) for flags in (14, 1 << 40, 15 | 1 << 40)} == {EPERM}
    assert {verdict(program, other, 94) for other in ALL.values() if other is not architecture} == {EPERM}


# What no rule is about.


@pytest.mark.parametrize("machine", ["x86_64", "i686", "i386", "aarch64", "armv8l", "armv7l", "riscv64"])
def test_an_unknown_architecture_gets_enosys_and_is_not_killed(machine: str) -> None:
    program, known = load(assemble(FULL, machine)), {one.audit for one in architectures(machine)}
    strangers = {0, MASK32, 0x80000016, 0xC0000015, 0x400000F3} | {one.audit for one in ALL.values()} - known
    assert {run(program, audit, number)[0] for audit in strangers for number in (0, 1, 56, 435)} == {ENOSYS}


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", {X86_64.audit, I386.audit}),
        ("i686", {X86_64.audit, I386.audit}),
        ("i386", {I386.audit}),
        ("aarch64", {AARCH64.audit, ARM.audit}),
        ("armv8l", {AARCH64.audit, ARM.audit}),
        ("armv7l", {ARM.audit}),
        ("riscv64", {RISCV64.audit}),
    ],
)
def test_a_filter_covers_what_the_kernel_runs(machine: str, expected: set[int]) -> None:
    program = load(assemble(FULL, machine))
    allowed = {one.audit for one in ALL.values() if verdict(program, one, one.numbers["prctl"]) == ALLOW}
    assert allowed == expected


@pytest.mark.parametrize("number", [0, 39, 175, 246, 272, 512, 528, 545, 0x3FFFFFFF, 0x40000000 - 2])
def test_x32_calls_get_enosys(number: int) -> None:
    assert verdict(load(assemble(FULL, "x86_64")), X86_64, 0x40000000 + number) == ENOSYS


def test_x32_entries_without_the_x32_bit_get_enosys() -> None:
    """Before 5.4 they answered: 528 is kexec_load."""
    program = load(assemble(FULL, "x86_64"))
    verdicts = {number: verdict(program, X86_64, number) for number in range(511, 549)}
    assert verdicts == {number: ENOSYS if 512 <= number <= 547 else ALLOW for number in range(511, 549)}


def test_a_call_skipped_by_a_tracer_stays_skipped() -> None:
    """ptrace skips a call by number -1 and sets the result itself; an errno would overwrite that."""
    for name, architecture in ALL.items():
        assert verdict(load(assemble(FULL, MACHINES[name])), architecture, 0xFFFFFFFF) == ALLOW


def test_arms_private_calls_are_allowed() -> None:
    """0xf0002 is cacheflush, 0xf0005 set_tls: without them no 32-bit program starts."""
    for machine in ("aarch64", "armv8l", "armv7l"):
        program = load(assemble(FULL, machine))
        assert {verdict(program, ARM, 0xF0000 + call) for call in range(7)} == {ALLOW}


def test_without_rules_the_own_architectures_are_free() -> None:
    program = load(assemble((), "aarch64"))
    assert {verdict(program, one, number) for one in (AARCH64, ARM) for number in range(500)} == {ALLOW}


# How long it takes.


@pytest.mark.parametrize("name", ALL)
def test_an_unfiltered_call_is_allowed_within_a_dozen_instructions(name: str) -> None:
    architecture, program = ALL[name], load(assemble(FULL, MACHINES[name]))
    free = set(range(500)) - set(architecture.numbers.values())
    assert max(run(program, architecture.audit, number)[1] for number in free) <= 12


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "armv7l", "riscv64"])
def test_the_full_filter_is_a_small_program(machine: str) -> None:
    assert len(load(assemble(FULL, machine))) < 700


# Any rules at all.

_values = st.one_of(
    st.sampled_from([0, 1, MASK32, 1 << 32, MASK64, MASK64 - MASK32, 0xDEADBEEF, 0x7E020000]),
    st.integers(min_value=0, max_value=MASK64),
)
_tests = st.builds(
    ArgumentTest, index=st.integers(min_value=0, max_value=5), mask=_values, value=_values, negate=st.booleans()
)
_rules = st.builds(
    SyscallRule,
    names=st.lists(st.sampled_from(sorted(NAMES)), max_size=4).map(tuple),
    errno=st.sampled_from(["EPERM", "ENOSYS", "EINVAL", "EACCES"]),
    asks=st.booleans(),
    when=st.lists(_tests, max_size=4).map(tuple),
)


@settings(max_examples=500, deadline=None)
@given(data=st.data(), rules=st.lists(_rules, max_size=5), name=st.sampled_from(sorted(ALL)))
def test_any_rules_are_answered_as_they_read(data: st.DataObject, rules: list[SyscallRule], name: str) -> None:
    architecture, program = ALL[name], load(assemble(rules, MACHINES[name]))
    telling = sorted(architecture.numbers.values())
    numbers = st.one_of(st.sampled_from(telling), st.integers(min_value=0, max_value=MASK32))
    asked = sorted({bits for rule in rules for test in rule.when for bits in (test.value, test.mask & test.value)})
    arguments = st.one_of(st.sampled_from(asked), _values) if asked else _values
    for _ in range(5):
        number = data.draw(numbers)
        six = data.draw(st.lists(arguments, min_size=6, max_size=6))
        assert verdict(program, architecture, number, six) == read_plainly(rules, architecture, number, six)


@pytest.mark.parametrize("mask", [0, 1, 1 << 32, MASK32, MASK64])
@pytest.mark.parametrize("value", [0, 1, 1 << 32, MASK64])
@pytest.mark.parametrize("negate", [False, True])
def test_a_single_test_holds_exactly_where_it_reads_so(mask: int, value: int, negate: bool) -> None:
    """Also one that asks for no bit (always true) and one whose value lies outside its mask (never true)."""
    test = ArgumentTest(index=5, mask=mask, value=value, negate=negate)
    rules = (SyscallRule(names=("clone",), errno="EPERM", when=(test,)),)
    program = load(assemble(rules, "aarch64"))
    for argument in EDGE_VALUES:
        six = (0, 0, 0, 0, 0, argument)
        assert verdict(program, AARCH64, 220, six) == read_plainly(rules, AARCH64, 220, six), hex(argument)


def test_a_program_longer_than_a_conditional_jump_reaches_is_right_too() -> None:
    rules = [
        SyscallRule(
            names=tuple(sorted(NAMES)),
            errno="EPERM" if value % 2 else "EINVAL",
            when=(ArgumentTest(index=0, mask=MASK64, value=value), ArgumentTest(index=1, mask=MASK64, value=value)),
        )
        for value in range(7)
    ]
    program = load(assemble(rules, "x86_64"))
    assert len(program) > 1000
    for architecture in (X86_64, I386):
        for number in range(600):
            for pair in ((0, 0), (3, 3), (6, 6), (7, 7), (3, 4)):
                six = (*pair, 0, 0, 0, 0)
                assert verdict(program, architecture, number, six) == read_plainly(rules, architecture, number, six)


def test_the_first_fitting_rule_answers() -> None:
    rules = (
        SyscallRule(names=("clone",), errno="EINVAL", when=(ArgumentTest(index=0, mask=1, value=1),)),
        SyscallRule(names=("clone",), errno="EPERM"),
        SyscallRule(names=("clone",), errno="ENOSYS"),
    )
    program = load(assemble(rules, "aarch64"))
    assert verdict(program, AARCH64, 220, (3,)) == 0x00050000 | errno.EINVAL
    assert verdict(program, AARCH64, 220, (2,)) == EPERM


# What can't be assembled.


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="'mips'"):
        assemble(FULL, "mips")


def test_a_call_without_numbers_is_refused_and_not_left_open() -> None:
    with pytest.raises(ValueError, match="kexec_laod"):
        assemble((SyscallRule(names=("reboot", "kexec_laod"), errno="EPERM"),), "aarch64")


def test_a_word_that_is_no_errno_is_refused() -> None:
    with pytest.raises(ValueError, match="ENOPE"):
        assemble((SyscallRule(names=("reboot",), errno="ENOPE"),), "aarch64")


def test_more_rules_than_a_filter_holds_are_refused() -> None:
    tests = tuple(ArgumentTest(index=0, mask=MASK64, value=value) for value in range(20))
    with pytest.raises(ValueError, match="4096"):
        assemble([SyscallRule(names=tuple(sorted(NAMES)), errno="EPERM", when=tests)] * 5, "aarch64")


def test_a_rule_that_no_jump_can_leap_over_is_refused() -> None:
    tests = tuple(ArgumentTest(index=0, mask=1, value=0) for _ in range(200))
    with pytest.raises(ValueError, match="argument tests"):
        assemble((SyscallRule(names=("reboot",), errno="EPERM", when=tests),), "aarch64")


# libseccomp as the second opinion.

LIBSECCOMP: Final = ctypes.CDLL("libseccomp.so.2", use_errno=True)
NEWER: Final = {"listmount": 458, "statmount": 457}  # than Debian 12's; from 424 on all architectures have one number
LIBSECCOMP.seccomp_init.restype = ctypes.c_void_p
SCMP_CMP_MASKED_EQ: Final = 7
SCMP_FLTATR_ACT_BADARCH: Final = 2


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp; for SCMP_CMP_MASKED_EQ the first datum is the mask."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("mask", ctypes.c_uint64), ("value", ctypes.c_uint64))


def resolve(name: str, audit: int) -> int:
    """Return libseccomp's number for `name`; negative where the architecture lacks the call."""
    return int(LIBSECCOMP.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(audit), name.encode()))


class LibseccompFilter:
    """A filter of libseccomp's for one architecture; what it is not told gets `default`."""

    def __init__(self, architecture: Architecture, default: int) -> None:
        self.context = ctypes.c_void_p(LIBSECCOMP.seccomp_init(ctypes.c_uint32(default)))
        self.succeed(LIBSECCOMP.seccomp_attr_set(self.context, SCMP_FLTATR_ACT_BADARCH, ctypes.c_uint32(ENOSYS)))
        native = int(LIBSECCOMP.seccomp_arch_native()) & MASK32
        if architecture.audit != native:
            self.succeed(LIBSECCOMP.seccomp_arch_add(self.context, ctypes.c_uint32(architecture.audit)))
            self.succeed(LIBSECCOMP.seccomp_arch_remove(self.context, ctypes.c_uint32(native)))

    def succeed(self, result: int) -> None:
        assert result == 0, os.strerror(-result)

    def add(self, name: str, action: int, *comparisons: tuple[int, int, int]) -> None:
        number = LIBSECCOMP.seccomp_syscall_resolve_name(name.encode())
        array = (Comparison * len(comparisons))(*(Comparison(i, SCMP_CMP_MASKED_EQ, m, v) for i, m, v in comparisons))
        self.succeed(
            LIBSECCOMP.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(comparisons), array)
        )

    def program(self) -> Program:
        memory = os.memfd_create("filter")
        try:
            self.succeed(LIBSECCOMP.seccomp_export_bpf(self.context, memory))
            return load(os.pread(memory, 1 << 20, 0))
        finally:
            os.close(memory)
            LIBSECCOMP.seccomp_release(self.context)


def by_libseccomp(rules: Sequence[SyscallRule], architecture: Architecture) -> Program:
    """The same rules, but for those that test one argument several times: it takes only one comparison for each."""
    theirs = LibseccompFilter(architecture, ALLOW)
    for rule in rules:
        action = action_of(rule)
        for name in rule.names:
            if not rule.when:
                theirs.add(name, action)
                continue
            for comparisons in itertools.product(*map(alternatives, rule.when)):
                theirs.add(name, action, *comparisons)
    return theirs.program()


def alternatives(test: ArgumentTest) -> list[tuple[int, int, int]]:
    """libseccomp has no masked "not equal"; two numbers differ where any of their bits does."""
    if not test.negate:
        return [(test.index, test.mask, test.value)]
    return [(test.index, 1 << bit, ~test.value & (1 << bit)) for bit in range(64) if test.mask & (1 << bit)]


@pytest.mark.parametrize("name", ALL)
def test_the_number_tables_are_libseccomps(name: str) -> None:
    architecture = ALL[name]
    theirs = {call: number for call in NAMES if (number := resolve(call, architecture.audit)) >= 0} | NEWER
    multiplexed = {call for call in architecture.numbers if resolve(call, architecture.audit) < -1}
    assert {call: number for call, number in architecture.numbers.items() if call not in multiplexed} == theirs
    assert multiplexed == ({"socket", "getsockopt", "setsockopt"} if architecture is I386 else set())


@pytest.mark.parametrize("name", ALL)
def test_the_filter_agrees_with_libseccomps(name: str) -> None:
    architecture = ALL[name]
    rules = tuple(rule for rule in FULL if not {"reboot", *NEWER} & {*rule.names})
    assert len(rules) == len(FULL) - 3
    ours, theirs = load(assemble(rules, MACHINES[name])), by_libseccomp(rules, architecture)
    old_x32 = range(512, 548) if architecture is X86_64 else range(0)  # which libseccomp leaves open
    for number in EDGE_NUMBERS:
        if number not in old_x32 and number not in NEWER.values():
            for arguments in arguments_for(architecture, number):
                pair = [verdict(program, architecture, number, arguments) for program in (ours, theirs)]
                assert pair[0] == pair[1], (number, arguments)


@pytest.mark.parametrize("name", ALL)
def test_libseccomp_agrees_on_which_mounts_are_asked_about(name: str) -> None:
    architecture = ALL[name]
    rules = tuple(rule for rule in GUARDED if rule.asks)
    ours, theirs = load(assemble(rules, MACHINES[name])), by_libseccomp(rules, architecture)
    for flags in MOUNT_FLAGS:
        for call in ("mount", "fsopen", "fsconfig", "move_mount"):
            number = resolve(call, architecture.audit)
            pair = [verdict(program, architecture, number, (0, 0, 0, flags, 0)) for program in (ours, theirs)]
            assert pair[0] == pair[1], (call, hex(flags))


@pytest.mark.parametrize("name", ALL)
def test_libseccomp_agrees_on_reboot_told_the_other_way_round(name: str) -> None:
    """Everything refused but reboot with the kernel's own magic: what is left of reboot must be the same."""
    architecture = ALL[name]
    complement = LibseccompFilter(architecture, EPERM)
    for magic2 in (672274793, 85072278, 369367448, 537993216):
        complement.add("reboot", ALLOW, (0, MASK32, 0xFEE1DEAD), (1, MASK32, magic2))
    ours, theirs, number = load(assemble(FULL, MACHINES[name])), complement.program(), architecture.numbers["reboot"]
    for arguments in arguments_for(architecture, number):
        pair = [verdict(program, architecture, number, arguments) for program in (ours, theirs)]
        assert pair[0] == pair[1], arguments
