"""LANs whose owner is a container: a bridge without an address, the owner's end in it, and its clients'.

The phone does the plumbing and nothing else: addresses, names and the way out are the gateway container's business.
What there is stands in the kernel, by names made from the segment's own and by aliases that tell it, so nobody has to
remember it.  While the gateway is not there its clients' ends are switched off: they see that the cable is dead, and
their DHCP clients ask anew when it comes to life.
"""

import os
from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Final

from msgspec import Struct

from berth.errors import BerthError
from berth.network import frames, hooks, links, sysctls
from berth.network.addresses import SEGMENT_PREFIX, link_of, mac_of
from berth.network.links import unless_gone
from berth.network.model import Init, Plug, Wish
from berth.network.netlink import RTM_GETLINK, Netlink, inside, open_namespace
from berth.network.wiring import INNER

_ALIAS: Final = "berth segment "
_PORT_PREFIX: Final = "bgp"
_MTU: Final = 1500


class Segment(Struct, frozen=True):
    """The LAN `net` of container `gateway`."""

    gateway: str
    net: str

    @property
    def bridge(self) -> str:
        """Its bridge's name on the phone."""
        return f"{SEGMENT_PREFIX}{self._digest}"

    @property
    def port(self) -> str:
        """The phone's end of the gateway's link into it."""
        return f"{_PORT_PREFIX}{self._digest}"

    @property
    def alias(self) -> str:
        """By which both are known as ours."""
        return f"{_ALIAS}{self.gateway}/{self.net}"

    @property
    def _digest(self) -> str:
        return sha256(f"{self.gateway}/{self.net}".encode()).hexdigest()[:8]


def segment_of(wish: Wish) -> Segment:
    """Return the segment that a client wishes to be on."""
    return Segment(wish.gateway, wish.gateway_net)


def refuse_other_link(wish: Wish, others: Iterable[Wish]) -> None:
    """Raise BerthError where the gateway's end could not be called what `wish` says, for what `others` say."""
    for other in others:
        if other.gateway != wish.gateway or other.name == wish.name:
            continue
        if (other.gateway_net == wish.gateway_net) != (other.gateway_iface == wish.gateway_iface):
            raise BerthError(
                f"container {wish.name}: {wish.gateway} has its LAN {other.gateway_net} at {other.gateway_iface}, by "
                f"container {other.name}; give each LAN an interface of its own with --gateway-iface"
            )


def is_taken(wish: Wish, gateway: Init, own_namespace: int) -> bool:
    """Whether the gateway, whose init that is, has an interface of that name which is not its end of the segment."""
    segment = segment_of(wish)
    if links.is_there(segment.port):
        return False
    with inside(gateway, own_namespace):
        return links.is_there(wish.gateway_iface)


def plug_in(netlink: Netlink, plug: Plug, own_namespace: int) -> None:
    """Make the link of a client into its segment, whose bridge is made where it is the first.  Raises OSError."""
    segment, name = segment_of(plug.wish), plug.wish.name
    bridge = _bridge(netlink, segment)
    namespace = open_namespace(plug.init)
    try:
        link, alias = link_of(name), f"berth {name}"
        index = links.make_veth(netlink, link, alias, namespace=namespace, inner=INNER, mac=mac_of(name), mtu=_MTU)
    finally:
        os.close(namespace)
    _keep_to_itself(link)
    hooks.look_at_arrivals(netlink, index, link, frames.may_send_to_lan())
    links.enslave(netlink, index, bridge)
    links.learn_nothing(netlink, index, mac_of(name))
    with inside(plug.init, own_namespace), Netlink() as within:
        links.switch_on(within, links.find(INNER))


def unplug(netlink: Netlink, plug: Plug) -> None:
    """Remove the link of a client.  Raises KernelError."""
    links.remove_link(netlink, link_of(plug.wish.name), f"berth {plug.wish.name}")


def settle(netlink: Netlink, clients: Collection[Plug], gateways: dict[str, Init], own_namespace: int) -> set[Segment]:
    """Make every segment what it must be for `clients`; return those whose gateway is there.

    `gateways` has the init of each container that runs, by name.  A segment that nobody needs any more is removed; one
    whose gateway runs is left to it.  Raises OSError.
    """
    wanted = {segment_of(client.wish): client.wish.gateway_iface for client in clients}
    for segment in _there(netlink) - wanted.keys():
        if segment.gateway not in gateways:
            links.remove_link(netlink, segment.port, segment.alias)
            links.remove_link(netlink, segment.bridge, segment.alias)
    alive = set()
    for segment, iface in wanted.items():
        if segment.gateway in gateways and _plug_gateway(
            netlink, segment, iface, gateways[segment.gateway], own_namespace
        ):
            alive.add(segment)
    for client in clients:
        with unless_gone():
            links.switch(netlink, link_of(client.wish.name), on=segment_of(client.wish) in alive)
    return alive


def forget_gateway(netlink: Netlink, name: str) -> None:
    """Remove the gateway's ends: it has gone, or comes again with another network namespace.  Raises KernelError."""
    for segment in _there(netlink):
        if segment.gateway == name:
            links.remove_link(netlink, segment.port, segment.alias)


def _plug_gateway(netlink: Netlink, segment: Segment, iface: str, gateway: Init, own_namespace: int) -> bool:
    """Make the gateway's end where it is not there; False where the gateway has just ended."""
    if links.is_there(segment.port):
        return True
    bridge = _bridge(netlink, segment)
    try:
        namespace = open_namespace(gateway)
    except FileNotFoundError:
        return False
    try:
        mac = mac_of(f"{segment.gateway}/{segment.net}")
        index = links.make_veth(
            netlink, segment.port, segment.alias, namespace=namespace, inner=iface, mac=mac, mtu=_MTU
        )
    finally:
        os.close(namespace)
    _keep_to_itself(segment.port)
    links.enslave(netlink, index, bridge)
    links.learn_nothing(netlink, index, mac)
    links.switch_on(netlink, index)
    with inside(gateway, own_namespace), Netlink() as within:
        links.switch_on(within, links.find(iface))
    return True


def _bridge(netlink: Netlink, segment: Segment) -> int:
    """Return the index of the segment's bridge, made and switched on."""
    index = links.make_bridge(netlink, segment.bridge, segment.alias)
    _keep_to_itself(segment.bridge)
    links.switch_on(netlink, index)
    return index


def _keep_to_itself(link: str) -> None:
    """Have the phone take no part in what goes over `link`."""
    sysctls.write_if_there(sysctls.of_foreign_link(link))


def _there(netlink: Netlink) -> set[Segment]:
    found = set()
    for link in netlink.dump(RTM_GETLINK, "the links"):
        told = str(link.get("IFLA_IFALIAS", ""))
        gateway, _, net = told.removeprefix(_ALIAS).partition("/")
        segment = Segment(gateway, net)
        if told == segment.alias and link["IFLA_IFNAME"] in (segment.bridge, segment.port):
            found.add(segment)
    return found
