"""The bridge `berth0`: containers on it hear each other as on a switch, and talk past the phone.

It has the phone's address among them.  What each may send is looked at where it comes in (`frames.py`), and the phone
never learns from them who is where.  It is there with the first container that wants it, and gone with the last.
"""

import errno
import socket
from typing import Final

from berth.errors import BerthError
from berth.kernel.call import KernelError
from berth.network import frames, hooks, links, sysctls
from berth.network.addresses import BRIDGE, mac_of
from berth.network.links import unless_gone
from berth.network.model import Member
from berth.network.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELNEIGH,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Netlink,
    index_of,
)

MAC: Final = mac_of("/")
"""The bridge's own, which no container's name gives."""

_ALIAS: Final = "berth bridge"
_NO_NAME: Final = "."  # of a link: the kernel refuses it only after it has found out what a bridge is
_PERMANENT: Final = 0x80  # NUD_PERMANENT


def require(netlink: Netlink, name: str) -> None:
    """Raise BerthError where container `name` can't have a place on a bridge; nothing is changed."""
    found = next((link for link in netlink.dump(RTM_GETLINK, BRIDGE) if link["IFLA_IFNAME"] == BRIDGE), None)
    if found is not None and found.get("IFLA_IFALIAS", _ALIAS) != _ALIAS:
        raise BerthError(
            f"container {name}: this device has a link {BRIDGE} already that is not Berth's; remove it, or leave "
            "--bridge out"
        )
    try:
        info = {"attrs": [["IFLA_INFO_KIND", "bridge"]]}
        attributes = {"IFLA_IFNAME": _NO_NAME, "IFLA_LINKINFO": info}
        netlink.ask(RTM_NEWLINK, _NO_NAME, NLM_F_CREATE | NLM_F_EXCL, attributes)
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise BerthError(
                f"container {name}: --bridge needs a kernel with CONFIG_BRIDGE, which this one has not; leave it out"
            ) from error
        if error.errno != errno.EINVAL:
            raise


def plug_in(netlink: Netlink, member: Member) -> int:
    """Put the phone's end of the link of `member` into the bridge; return the index of that.

    Raises BerthError where the kernel can't look at what comes in, KernelError.
    """
    lease, name = member.lease, member.link
    bridge = _make(netlink, member)
    sysctls.write_if_there({f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6": "1"})
    port = frames.Port(
        mac=lease.mac,
        address=lease.address,
        address6=lease.address6,
        gateway=lease.gateway,
        gateway6=lease.gateway6,
        bridge=MAC,
        isolated=member.wish.isolated,
    )
    try:
        hooks.open_both(netlink, member.index, name)
        hooks.add_program(netlink, member.index, name, hooks.INGRESS, frames.may_send(port))
        hooks.add_program(netlink, member.index, name, hooks.EGRESS, frames.may_receive(port))
    except KernelError as error:
        if error.errno not in hooks.UNKNOWN:
            raise
        raise BerthError(
            f"container {member.wish.name}: on a bridge this kernel can't keep containers from sending as another (it "
            "needs Linux 4.5 with CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS); leave --bridge out"
        ) from error
    links.enslave(netlink, member.index, bridge)
    links.reflect(netlink, member.index)  # br_netfilter translates on the bridge: one that asks for its own port
    for family, address in _neighbours(member):
        attributes = {"NDA_DST": address, "NDA_LLADDR": lease.mac}
        mode = NLM_F_CREATE | NLM_F_REPLACE
        netlink.ask(RTM_NEWNEIGH, name, mode, attributes, family=family, ifindex=bridge, state=_PERMANENT)
    return bridge


def unplug(netlink: Netlink, member: Member) -> None:
    """Forget who `member` was, whose link has gone with its end; raises KernelError."""
    index = index_of(BRIDGE)
    for family, address in _neighbours(member) if index is not None else ():
        with unless_gone():
            netlink.ask(RTM_DELNEIGH, member.link, 0, {"NDA_DST": address}, family=family, ifindex=index)


def remove(netlink: Netlink) -> None:
    """Remove the bridge; where there is none, nothing happens.  Raises KernelError."""
    if links.is_there(BRIDGE):
        links.remove_link(netlink, BRIDGE, _ALIAS)


def _make(netlink: Netlink, member: Member) -> int:
    """Return the index of the bridge, which is made with the phone's addresses where it is not there."""
    lease = member.lease
    index = links.make_bridge(netlink, BRIDGE, _ALIAS, mac=MAC)
    sysctls.write_if_there(sysctls.of_link(BRIDGE, ipv6=True))  # who has none can't send it
    links.add_gateway(netlink, index, lease)
    links.switch_on(netlink, index)
    return index


def _neighbours(member: Member) -> list[tuple[int, str]]:
    """Its addresses, each with its family."""
    lease = member.lease
    found = [(int(socket.AF_INET), lease.address), (int(socket.AF_INET6), lease.address6)]
    return [(family, address) for family, address in found if address]
