"""What the DHCP server answers, and the datagrams that carry it."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.network import dhcp
from berth.network.datagrams import datagram

SUBNET = "172.28.0.0/16"


@given(st.binary(max_size=60))
def test_a_datagram_has_the_checksums_of_its_parts(data: bytes) -> None:
    packet = datagram(("172.28.0.1", 67), ("255.255.255.255", 68), data)
    head, rest = packet[:20], packet[20:]
    pseudo = head[12:20] + bytes((0, 17)) + struct.pack("!H", len(rest))

    def total(part: bytes) -> int:
        words: tuple[int, ...] = struct.unpack(f"!{(len(part) + 1) // 2}H", part + bytes(len(part) % 2))
        return sum(words) % 0xFFFF  # a right sum is a multiple of that (RFC 1071)

    assert (total(head), total(pseudo + rest)) == (0, 0)
    assert struct.unpack("!HHH", rest[:6]) == (67, 68, 8 + len(data))
    assert rest[8:] == data


OFFER = dhcp.Offer(
    address="172.28.0.9",
    subnet=SUBNET,
    gateway="172.28.0.1",
    servers=("172.28.0.1",),
    hostname="web",
    domain="berth",
    mtu=1400,
)
HARDWARE = bytes.fromhex("0242ac110002")


def asked(kind: int, *, client: str = "0.0.0.0", flags: int = 0, **options: bytes) -> bytes:
    numbers = {"requested": dhcp.REQUESTED, "server": dhcp.SERVER}
    head = struct.pack("!BBBBIHH4s12s16s192s", 1, 1, 6, 0, 77, 0, flags, IPv4Address(client).packed, b"", HARDWARE, b"")
    body = bytes([dhcp.KIND, 1, kind])
    body += b"".join(bytes([numbers[key], len(value)]) + value for key, value in options.items())
    return head + b"\x63\x82\x53\x63\0" + body + b"\xff"


def answered(data: bytes) -> tuple[str, str, dict[int, bytes]] | None:
    """To whom the answer goes, which address it gives, its options; read as a client reads them."""
    message = dhcp.read_message(data)
    assert message is not None
    reply = dhcp.answer(message, OFFER)
    if reply is None:
        return None
    assert reply.data[0] == 2
    assert reply.data[4:8] == (77).to_bytes(4, "big")
    assert reply.data[28:34] == HARDWARE
    assert len(reply.data) >= 300
    read = dhcp.read_message(b"\1" + reply.data[1:])
    assert read is not None
    return reply.address, str(IPv4Address(reply.data[16:20])), read.options


def test_who_looks_for_a_server_is_offered_the_lease() -> None:
    found = answered(asked(dhcp.DISCOVER))

    assert found is not None
    address, given, options = found
    assert (address, given) == ("255.255.255.255", "172.28.0.9")
    gateway = IPv4Address("172.28.0.1").packed
    assert options == {
        dhcp.KIND: bytes([dhcp.OFFER]),
        dhcp.MASK: bytes([255, 255, 0, 0]),
        dhcp.ROUTER: gateway,
        dhcp.NAME_SERVERS: gateway,
        dhcp.HOST_NAME: b"web",
        dhcp.DOMAIN: b"berth",
        dhcp.MTU: (1400).to_bytes(2, "big"),
        dhcp.LEASE_TIME: (86400).to_bytes(4, "big"),
        dhcp.SERVER: gateway,
        dhcp.RENEWAL: (43200).to_bytes(4, "big"),
        dhcp.REBINDING: (75600).to_bytes(4, "big"),
    }


OWN, OTHER = IPv4Address("172.28.0.9").packed, IPv4Address("172.28.0.10").packed
THIS, THAT = IPv4Address("172.28.0.1").packed, IPv4Address("10.0.0.1").packed


@pytest.mark.parametrize(
    ("data", "kind", "address", "given"),
    [
        (asked(dhcp.REQUEST, requested=OWN, server=THIS), dhcp.ACK, "255.255.255.255", "172.28.0.9"),
        (asked(dhcp.REQUEST, requested=OWN), dhcp.ACK, "255.255.255.255", "172.28.0.9"),
        (asked(dhcp.REQUEST, client="172.28.0.9"), dhcp.ACK, "172.28.0.9", "172.28.0.9"),
        (asked(dhcp.REQUEST, client="172.28.0.9", flags=0x8000), dhcp.ACK, "255.255.255.255", "172.28.0.9"),
        (asked(dhcp.REQUEST, requested=OTHER, server=THIS), dhcp.NAK, "255.255.255.255", "0.0.0.0"),
        (asked(dhcp.REQUEST, client="10.0.0.7"), dhcp.NAK, "255.255.255.255", "0.0.0.0"),
        (asked(dhcp.INFORM, client="172.28.0.9"), dhcp.ACK, "172.28.0.9", "0.0.0.0"),
    ],
    ids=["select", "reboot", "renew", "broadcast", "another", "elsewhere", "inform"],
)
def test_a_request_is_granted_or_refused(data: bytes, kind: int, address: str, given: str) -> None:
    found = answered(data)

    assert found is not None
    assert (found[0], found[1], found[2][dhcp.KIND]) == (address, given, bytes([kind]))
    assert (dhcp.LEASE_TIME in found[2]) == (given != "0.0.0.0")


@pytest.mark.parametrize(
    "data",
    [
        asked(dhcp.REQUEST, requested=OWN, server=THAT),
        asked(dhcp.DECLINE, requested=OWN, server=THIS),
        asked(dhcp.RELEASE, client="172.28.0.9", server=THIS),
        asked(99),
    ],
    ids=["another-server", "decline", "release", "unknown"],
)
def test_what_asks_nothing_of_this_server_is_not_answered(data: bytes) -> None:
    assert answered(data) is None


@given(st.binary(max_size=600))
def test_no_bytes_break_the_server(noise: bytes) -> None:
    for data in (noise, asked(dhcp.DISCOVER)[:240] + noise):
        message = dhcp.read_message(data)
        if message is not None:
            dhcp.answer(message, OFFER)
