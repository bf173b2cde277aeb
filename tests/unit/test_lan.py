"""A place on the phone's LAN: which link is joined, how, and with which address."""

import pytest

from berth.errors import BerthError
from berth.network.codec import ifinfmsg
from berth.network.lan import Static, choose_parent, kinds_for, static_of
from berth.network.model import Facts, Link, Route, Rule, Wish

WLAN = Link(index=3, name="wlan0", mtu=1500, up=True)
USB = Link(index=4, name="eth0", mtu=1500, up=True)
MOBILE = Link(index=5, name="rmnet_data0", mtu=1400, up=True, ethernet=False)
LOOK_UP_MAIN = Rule(priority=32766, table=254)


def facts(*links: Link, way: Link) -> Facts:
    """A phone with `links`, each with a network of its own, whose traffic goes by `way`."""
    nets = [Route(table=254, destination=f"192.0.{link.index}.0/24", link=link.index) for link in links]
    default = Route(table=254, link=way.index, gateway=f"192.0.{way.index}.1")
    own = tuple(f"192.0.{link.index}.2" for link in links)
    return Facts(links=links, routes=(*nets, default), rules=(LOOK_UP_MAIN,), addresses=own)


def wish(**words: str) -> Wish:
    return Wish(name="x", kind="lan", **words)  # type: ignore[arg-type]  # the words are the caller's


def test_the_lan_of_the_phones_own_traffic_is_joined() -> None:
    assert choose_parent(facts(WLAN, USB, MOBILE, way=USB), wish()) == USB


def test_a_mobile_network_is_no_lan() -> None:
    assert choose_parent(facts(WLAN, MOBILE, way=MOBILE), wish()) is None
    assert choose_parent(facts(WLAN, MOBILE, way=WLAN), wish(lan_iface="rmnet*")) is None


def test_a_named_link_is_joined_whatever_the_phones_own_traffic_does() -> None:
    assert choose_parent(facts(WLAN, USB, MOBILE, way=MOBILE), wish(lan_iface="wl*")) == WLAN
    assert choose_parent(facts(WLAN, way=WLAN), wish(lan_iface="eth0")) is None


def test_a_link_that_is_down_is_not_joined() -> None:
    down = Link(index=3, name="wlan0", mtu=1500, up=False)
    assert choose_parent(facts(down, MOBILE, way=MOBILE), wish(lan_iface="wlan0")) is None


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("wlan0", ("ipvlan", "macvlan")),
        ("swlan0", ("ipvlan", "macvlan")),
        ("wlp3s0", ("ipvlan", "macvlan")),
        ("eth0", ("macvlan", "ipvlan")),
        ("usb0", ("macvlan", "ipvlan")),
    ],
)
def test_by_wifi_the_phones_own_mac_is_tried_first(name: str, kinds: tuple[str, ...]) -> None:
    assert kinds_for(Link(index=1, name=name, mtu=1500, up=True)) == kinds


def test_a_chosen_address_gets_length_and_router_of_the_lan() -> None:
    assert static_of(facts(WLAN, way=WLAN), wish(ip="192.0.3.9"), WLAN) == Static("192.0.3.9", 24, "192.0.3.1")
    assert static_of(facts(WLAN, USB, way=USB), wish(ip="192.0.3.9"), WLAN) == Static("192.0.3.9", 24, None)
    assert static_of(facts(WLAN, way=WLAN), wish(), WLAN) is None


@pytest.mark.parametrize("ip", ["192.0.4.9", "192.0.3.2", "192.0.3.0", "192.0.3.255", "192.0.3.1"])
def test_an_address_that_is_not_to_be_had_is_refused(ip: str) -> None:
    with pytest.raises(BerthError, match=f"container x: --ip {ip} "):
        static_of(facts(WLAN, way=WLAN), wish(ip=ip), WLAN)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [("macvlan", ["IFLA_MACVLAN_MODE", "bridge"], b"\x04\0\0\0"), ("ipvlan", ["IFLA_IPVLAN_MODE", 0], b"\0\0")],
)
def test_the_kernel_is_asked_for_that_kind(kind: str, data: list[object], value: bytes) -> None:
    message = ifinfmsg()
    info = {"attrs": [["IFLA_INFO_KIND", kind], ["IFLA_INFO_DATA", {"attrs": [data]}]]}
    message["attrs"] = [["IFLA_LINKINFO", info]]

    message.encode()

    assert kind.encode() in bytes(message.data)
    assert bytes([4 + len(value), 0, 1, 0]) + value in bytes(message.data)
