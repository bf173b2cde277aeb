"""A container's own place on the LAN that the phone is on: a macvlan or ipvlan link on one of the phone's.

The link lives in the container's namespace and is gone with it, so nothing of it is left on the phone.
"""

import errno
import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from msgspec import Struct

from berth.errors import BerthError
from berth.kernel.call import KernelError
from berth.network import links
from berth.network.addresses import mac_of
from berth.network.model import Facts, Link, Plug, Wish
from berth.network.netlink import Netlink, inside, open_namespace
from berth.network.uplinks import choose_uplink
from berth.network.wiring import INNER

_UNKNOWN: Final = (errno.EOPNOTSUPP, errno.ENOENT)
_WIRELESS_NAMES: Final = ("wl", "swlan")


class Static(Struct, frozen=True):
    """An address of the user's choice: its length and the router are those of the parent's network."""

    address: str
    length: int
    router: str | None


def choose_parent(facts: Facts, wish: Wish) -> Link | None:
    """Return the phone's link whose LAN the container joins: the named one, else that of the phone's own traffic.

    None while there is none that is up and has neighbours: mobile networks have not.
    """
    if wish.lan_iface is None:
        index = choose_uplink(facts, ()).index
        return next((link for link in facts.links if link.index == index and _is_lan(link)), None)
    return next((link for link in facts.links if fnmatchcase(link.name, wish.lan_iface) and _is_lan(link)), None)


def kinds_for(link: Link) -> tuple[str, ...]:
    """Return the kinds of link to try on `link`, best first.

    An access point takes frames from the address alone that has signed on with it.  ipvlan has the phone's own, macvlan
    one of the container's.
    """
    return ("ipvlan", "macvlan") if link.name.startswith(_WIRELESS_NAMES) else ("macvlan", "ipvlan")


def static_of(facts: Facts, wish: Wish, parent: Link) -> Static | None:
    """Return what `--ip` means on `parent`; None where the LAN's DHCP decides.

    Raises BerthError for an address that is not of that LAN.
    """
    if wish.ip is None:
        return None
    on_link = [route for route in facts.routes if route.link == parent.index and not route.gateway]
    nets = [IPv4Network(route.destination) for route in on_link if route.destination and route.kind == 1]
    net = next((net for net in nets if net.prefixlen < 32 and IPv4Address(wish.ip) in net), None)
    if net is None:
        known = ", ".join(sorted({str(net) for net in nets if net.prefixlen < 32})) or "none"
        raise BerthError(f"container {wish.name}: --ip {wish.ip} is not on the LAN of {parent.name} ({known})")
    ways = [route for route in facts.routes if route.link == parent.index and not route.destination and route.gateway]
    router = min(ways, key=lambda way: way.metric).gateway if ways else None
    others = {str(net.network_address): "the LAN's own", str(net.broadcast_address): "for broadcasts"}
    others |= dict.fromkeys(facts.addresses, "the phone's own address") | ({router: "the router's"} if router else {})
    if wish.ip in others:
        raise BerthError(f"container {wish.name}: --ip {wish.ip} is {others[wish.ip]}; choose another one")
    return Static(wish.ip, net.prefixlen, router)


def plug_in(netlink: Netlink, plug: Plug, parent: Link, static: Static | None, own_namespace: int) -> str:
    """Give the container its link on `parent`; return of which kind it is.

    Raises BerthError where the kernel has neither, OSError.
    """
    name = plug.wish.name
    namespace = open_namespace(plug.init)
    try:
        kind = _make(netlink, parent, namespace, mac_of(name))
    finally:
        os.close(namespace)
    if kind is None:
        raise BerthError(f"container {name}: this kernel has neither macvlan nor ipvlan; use --net=nat")
    with inside(plug.init, own_namespace), Netlink() as within:
        index = links.find(INNER)
        links.switch_on(within, index)
        if static is not None:
            links.add_address(within, index, static.address, static.length)
            if static.router is not None:
                links.add_way_out(within, index, static.router)
    return kind


def unplug(plug: Plug, own_namespace: int) -> None:
    """Remove the link while its container still runs; one that has gone is fine."""
    within_it(plug, own_namespace, lambda netlink: links.remove(netlink, INNER))


def is_plugged(plug: Plug, own_namespace: int) -> bool:
    """Whether the container has a link; the kernel takes it away with the phone's."""
    found: list[bool] = []
    within_it(plug, own_namespace, lambda netlink: found.append(links.is_there(INNER)))
    return found == [True]


def within_it(plug: Plug, own_namespace: int, action: Callable[[Netlink], object]) -> None:
    """Do `action` in the container's network namespace, unless it has ended."""
    try:
        with inside(plug.init, own_namespace), Netlink() as netlink:
            action(netlink)
    except FileNotFoundError:
        return


def _make(netlink: Netlink, parent: Link, namespace: int, mac: str) -> str | None:
    """Make the best kind of link that the kernel has; None for neither."""
    for kind in kinds_for(parent):
        try:
            links.make_upper(netlink, kind, parent.index, namespace=namespace, inner=INNER, mac=mac)
        except KernelError as error:
            if error.errno not in _UNKNOWN:
                raise
            continue
        return kind
    return None


def _is_lan(link: Link) -> bool:
    return link.up and link.ethernet
