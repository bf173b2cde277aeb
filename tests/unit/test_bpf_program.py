"""The device program decides as its rules say: its instructions are carried out here, one by one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.kernel.bpf import Rule, assemble_device_program

ACCESS = {"m": 1, "r": 2, "w": 4}
NUMBER = st.one_of(st.none(), st.integers(0, 6))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    major = draw(NUMBER)
    minor = None if major is None else draw(NUMBER)
    return Rule(draw(st.sampled_from("abc")), major, minor, "".join(draw(st.sets(st.sampled_from("rwm"), min_size=1))))


def decide(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Run `program` as the kernel does; an instruction that it should not have is a KeyError."""
    code = list(struct.iter_unpack("<BBhi", program))
    wanted = sum(ACCESS[letter] for letter in access) << 16 | {"b": 1, "c": 2}[kind]
    context = {0: wanted, 4: major, 8: minor}
    registers: dict[int, int] = {}
    at = 0
    while True:
        operation, pair, offset, value = code[at]
        target, source = pair & 15, pair >> 4
        at += 1
        match operation:
            case 0x61:
                registers[target] = context[offset]
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = value
            case 0x57:
                registers[target] &= value
            case 0x77:
                registers[target] >>= value
            case 0x05:
                at += offset
            case 0x15:
                at += offset if registers[target] == value else 0
            case 0x55:
                at += offset if registers[target] != value else 0
            case 0x95:
                return registers[0] == 1
            case _:
                raise KeyError(operation)


@given(
    st.lists(rules(), max_size=12),
    st.sampled_from("bc"),
    st.integers(0, 7),
    st.integers(0, 7),
    st.sets(st.sampled_from("rwm"), min_size=1),
)
def test_the_program_allows_exactly_what_the_rules_allow_together(
    given_rules: list[Rule], kind: str, major: int, minor: int, access: set[str]
) -> None:
    allowed: set[str] = set()
    for rule in given_rules:
        if rule.kind in ("a", kind) and rule.major in (None, major) and rule.minor in (None, minor):
            allowed |= set(rule.access)
    program = assemble_device_program(given_rules)
    assert decide(program, kind, major, minor, "".join(access)) is (access <= allowed)


def test_no_rules_allow_nothing() -> None:
    assert not decide(assemble_device_program(()), "c", 1, 3, "r")


def test_a_program_for_a_phone_full_of_devices_fits_the_oldest_kernels() -> None:
    """4096 instructions is the kernel's limit up to 5.1."""
    many = [Rule("c", major, minor, "rw") for major in range(200, 260) for minor in range(20)]
    assert len(assemble_device_program(many)) // 8 < 4096


def test_a_minor_of_every_major_is_refused() -> None:
    with pytest.raises(ValueError, match="minor 3 of every major"):
        assemble_device_program([Rule("c", None, 3, "r")])
