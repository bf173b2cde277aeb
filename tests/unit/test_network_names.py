"""What the resolver answers for containers, and what it passes on."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.network import names

HOSTS = names.Hosts(addresses={"web.1": ("172.28.0.9", "fd00::9"), "db": ("172.28.0.10",)}, network="172.28.")
A, PTR, AAAA = 1, 12, 28


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 9, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def resolved(name: str, kind: int) -> tuple[int, list[bytes]] | None:
    """The code and the records' values of an answer."""
    data = query(name, kind)
    question = names.read_question(data)
    assert question is not None
    reply = names.own_answer(data, question, HOSTS)
    if reply is None:
        return None
    number, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", reply)
    assert (number, flags & 0x8000) == (9, 0x8000)
    assert reply[12 : len(data)] == data[12:]
    values, offset = [], len(data)
    for _ in range(count):
        length = struct.unpack_from("!H", reply, offset + 10)[0]
        values.append(reply[offset + 12 : offset + 12 + length])
        offset += 12 + length
    assert offset == len(reply)
    return flags & 15, values


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("web.1.berth", A, (0, [bytes([172, 28, 0, 9])])),
        ("WEB.1.Berth", AAAA, (0, [bytes([0xFD, *[0] * 14, 9])])),
        ("db.berth", AAAA, (0, [])),
        ("nobody.berth", A, (3, [])),
        ("berth", A, (0, [])),
        ("10.0.28.172.in-addr.arpa", PTR, (0, [b"\2db\5berth\0"])),
        ("11.0.28.172.in-addr.arpa", PTR, (3, [])),
        ("example.org", A, None),
        ("noberth", A, None),
        ("1.2.0.192.in-addr.arpa", PTR, None),
    ],
)
def test_names_of_containers_are_answered_and_others_passed_on(
    name: str, kind: int, answer: tuple[int, list[bytes]] | None
) -> None:
    assert resolved(name, kind) == answer


@pytest.mark.parametrize("name", ["x" * 64, "a..b", "a."])
def test_a_name_that_no_question_can_hold_is_nobodys(name: str) -> None:
    hosts = names.Hosts(addresses={name: ("172.28.0.9",)}, network="172.28.")
    data = query("9.0.28.172.in-addr.arpa", PTR)
    question = names.read_question(data)
    assert question is not None
    reply = names.own_answer(data, question, hosts)

    assert reply is not None
    assert (reply[3] & 15, reply[6:8]) == (3, b"\0\0")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_resolver(noise: bytes) -> None:
    for data in (noise, query("a.berth", A)[:12] + noise):
        question = names.read_question(data)
        if question is not None:
            names.own_answer(data, question, HOSTS)
