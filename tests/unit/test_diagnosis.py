"""The first broken piece of a container's way out, told from what was found."""

import pytest
from msgspec.structs import replace

from berth.host import Lease
from berth.network.diagnosis import End, Findings, judge
from berth.network.model import Uplink

LEASE = Lease(address="172.28.0.9", subnet="172.28.0.0/16", gateway="172.28.0.1", mac="02:00:00:00:00:01")
WHOLE = Findings(
    name="x",
    lease=LEASE,
    link="berth1",
    uplink=Uplink(link="wlan0", reason="the phone's own traffic goes this way"),
    inner=End(up=True, addresses=("172.28.0.9",)),
    outer=End(up=True, addresses=("172.28.0.1",)),
    default="172.28.0.1",
    led_here=True,
    forwarding=True,
    missing=(),
    asked="192.0.2.1",
    phone=True,
    container=True,
    resolver=True,
    names=True,
    servers=("172.28.0.1",),
)
CLOSED = Uplink(closed=True, reason="none of --upstream tun0 is up with a default route")


def test_a_whole_way_has_six_pieces() -> None:
    assert [(check.piece, check.whole) for check in judge(WHOLE)] == [
        (piece, True) for piece in ("address", "route", "gateway", "forward rule", "uplink", "DNS")
    ]


@pytest.mark.parametrize(
    ("changes", "piece", "sentence"),
    [
        ({"inner": None}, "address", "there is no eth0 inside"),
        ({"inner": End(up=True, addresses=("10.0.0.1",))}, "address", "does not have 172.28.0.9 (it has 10.0.0.1)"),
        ({"inner": End(up=False, addresses=("172.28.0.9",))}, "address", "eth0 inside is switched off"),
        ({"default": ""}, "route", "the default route inside is missing"),
        ({"default": "10.0.0.1"}, "route", "leads to 10.0.0.1, not to 172.28.0.1"),
        ({"outer": None}, "gateway", "the phone's end of the link, berth1, has gone"),
        ({"outer": End(up=False, addresses=("172.28.0.1",))}, "gateway", "berth1 is switched off"),
        ({"outer": End(up=True, addresses=())}, "gateway", "berth1 has lost the address 172.28.0.1"),
        ({"led_here": False}, "gateway", "no route or rule that leads to the container"),
        ({"forwarding": False}, "forward rule", "forwarding is switched off"),
        ({"missing": ("FORWARD -> BERTH-FORWARD",)}, "forward rule", "the firewall lacks FORWARD -> BERTH-FORWARD"),
        ({"container": False}, "forward rule", "192.0.2.1 answers the phone and not the container"),
        ({"phone": False, "container": False}, "uplink", "gets no answer from its name server 192.0.2.1 by wlan0"),
        ({"uplink": CLOSED, "container": False}, "uplink", "none of --upstream tun0 is up with a default route"),
        ({"servers": ()}, "DNS", "/etc/resolv.conf inside names no server"),
        ({"resolver": False}, "DNS", "the phone's resolver at 172.28.0.1 does not answer"),
        ({"names": False, "asked": ""}, "DNS", "the phone's name servers do not answer"),
    ],
)
def test_the_first_broken_piece_is_the_last_that_is_told(changes: dict[str, object], piece: str, sentence: str) -> None:
    last = judge(replace(WHOLE, **changes))[-1]

    assert (last.piece, last.whole) == (piece, False)
    assert sentence in last.found
    assert last.cure
