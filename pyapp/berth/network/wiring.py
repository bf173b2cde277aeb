"""The link of one container: both ends of it, and what goes over it when its uplink changes."""

import contextlib
import os
from ipaddress import IPv4Network
from typing import Final

from msgspec.structs import replace

from berth.network import bridge, frames, hooks, links, shaping, sysctls
from berth.network.connections import forget_all, forget_outgoing, reset_connections
from berth.network.model import Member
from berth.network.netlink import Netlink, inside, open_namespace

INNER: Final = "eth0"


def make_link(netlink: Netlink, member: Member, mtu: int) -> Member:
    """Make the link of `member` and switch the phone's end on; return it with what is known now.

    Raises BerthError, OSError.
    """
    lease = member.lease
    namespace = open_namespace(member.init)
    try:
        index = links.make_veth(
            netlink, member.link, _alias(member), namespace=namespace, inner=INNER, mac=lease.mac, mtu=mtu
        )
    finally:
        os.close(namespace)
    made = replace(member, index=index)
    if member.wish.bridge:
        made = replace(made, bridge=bridge.plug_in(netlink, made))
    else:
        sysctls.write_if_there(sysctls.of_link(member.link, ipv6=bool(lease.address6)))
        links.add_gateway(netlink, index, lease)
        _look_at_sources(netlink, made)
    shaping.limit(netlink, made, _alias(member))
    links.switch_on(netlink, index)
    return made


def set_up_inside(member: Member, own_namespace: int) -> None:
    """Give the container's end its addresses and ways out.  Raises OSError."""
    lease = member.lease
    with inside(member.init, own_namespace), Netlink() as netlink:
        index = links.find(INNER)
        links.switch_on(netlink, index)
        links.add_address(netlink, index, lease.address, IPv4Network(lease.subnet).prefixlen)
        links.add_way_out(netlink, index, lease.gateway)
        if lease.address6:
            links.add_address(netlink, index, lease.address6, 128, family=6)
            links.add_way_out(netlink, index, lease.gateway6, family=6)


def remove_link(netlink: Netlink, member: Member) -> None:
    """Remove the link of `member`; one that has gone is fine.  Raises KernelError."""
    links.remove_link(netlink, member.link, _alias(member))
    shaping.lift(netlink, member, _alias(member))
    if member.wish.bridge:
        bridge.unplug(netlink, member)


def set_mtu(netlink: Netlink, member: Member, mtu: int, own_namespace: int) -> None:
    """Give both ends another MTU."""
    links.set_mtu(netlink, member.index, mtu)
    try:
        with inside(member.init, own_namespace), Netlink() as within:
            links.set_mtu(within, links.find(INNER), mtu)
    except OSError:
        return  # it ends just now, or root inside has renamed its link


def end_connections(member: Member, own_namespace: int) -> None:
    """End what goes by an uplink that the container no longer has."""
    forget_outgoing(addresses_of(member), member.lease.subnet)
    with contextlib.suppress(OSError), inside(member.init, own_namespace):  # it may have ended just now
        reset_connections(member.lease.subnet)


def forget(member: Member) -> None:
    """Have the phone forget what a container that has gone had going on: the next at its address begins anew."""
    forget_all(addresses_of(member))


def addresses_of(member: Member) -> tuple[str, ...]:
    """Return the addresses that `member` has, the IPv4 one first."""
    return tuple(address for address in (member.lease.address, member.lease.address6) if address)


def _look_at_sources(netlink: Netlink, member: Member) -> None:
    """Have the kernel look at what comes by a link of the container's own.

    One that can't has rp_filter, routing rules and the firewall, which leave a gap: the phone itself may be sent what
    claims to be from another container.
    """
    lease = member.lease
    program = frames.may_send_to_phone(lease.mac, lease.address, lease.address6)
    hooks.look_at_arrivals(netlink, member.index, member.link, program)


def _alias(member: Member) -> str:
    """By which a link is known as ours, and for whom."""
    return f"berth {member.wish.name}"
