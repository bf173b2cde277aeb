"""Limits how fast a container receives and sends, on the phone's side of its link, where root inside has no say.

What it receives waits in a token bucket on the link.  What it sends is led through an interface of its own (ifb), which
has another one: the kernel has no queue for what arrives.  See tc(8), tc-tbf(8), tc-mirred(8).
"""

from typing import Final

from berth.errors import BerthError
from berth.kernel.call import KernelError
from berth.network import hooks, links
from berth.network.addresses import LINK_PREFIX
from berth.network.model import Member
from berth.network.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    Netlink,
    index_of,
)

_ROOT: Final = 0xFFFFFFFF  # TC_H_ROOT
_HANDLE: Final = 0x10000
_LEAST_BURST: Final = 1 << 16  # a packet as large as the link's offload makes it
_BURSTS_IN_A_SECOND: Final = 50
_LATENCY: Final = "50ms"


def shaper_of(link: str) -> str:
    """Return what the interface is called through which what comes by `link` is led."""
    return f"{LINK_PREFIX}u{link.removeprefix(LINK_PREFIX)}"


def limit(netlink: Netlink, member: Member, alias: str) -> None:
    """Set the limits of a link that was just made, and has a place for filters of what arrives where the kernel has it.

    Raises BerthError where this kernel has no means for it, KernelError for anything else.
    """
    try:
        if member.wish.bandwidth_down is not None:
            _add_bucket(netlink, member.index, member.wish.bandwidth_down, member.link)
        if member.wish.bandwidth_up is not None:
            shaper = _make_shaper(netlink, shaper_of(member.link), alias)
            _add_bucket(netlink, shaper, member.wish.bandwidth_up, shaper_of(member.link))
            _lead_through(netlink, member, shaper)
    except KernelError as error:
        if error.errno not in hooks.UNKNOWN:
            raise
        raise BerthError(
            f"container {member.wish.name}: this kernel can't limit bandwidth (it needs tbf, and for "
            "--bandwidth-up ifb, u32 and mirred); start it without --bandwidth-down and --bandwidth-up"
        ) from error


def lift(netlink: Netlink, member: Member, alias: str) -> None:
    """Take away what does not go with the link itself; raises KernelError."""
    if member.wish.bandwidth_up is not None:
        links.remove_link(netlink, shaper_of(member.link), alias)


def _make_shaper(netlink: Netlink, name: str, alias: str) -> int:
    if index_of(name) is not None:
        links.remove_link(netlink, name, alias)
    info = {"attrs": [["IFLA_INFO_KIND", "ifb"]]}
    netlink.ask(RTM_NEWLINK, name, NLM_F_CREATE | NLM_F_EXCL, {"IFLA_IFNAME": name, "IFLA_LINKINFO": info})
    index = links.find(name)
    links.name_owner(netlink, index, alias)
    links.switch_on(netlink, index)
    return index


def _add_bucket(netlink: Netlink, index: int, rate: int, name: str) -> None:
    from pyroute2.netlink.rtnl.tcmsg import sched_tbf  # all of tc's messages: only for those who want limits

    burst = max(rate // _BURSTS_IN_A_SECOND, _LEAST_BURST)
    options = sched_tbf.get_parameters({"rate": rate, "burst": burst, "latency": _LATENCY})
    attributes = {"TCA_KIND": "tbf", "TCA_OPTIONS": options}
    netlink.ask(RTM_NEWQDISC, name, NLM_F_CREATE | NLM_F_EXCL, attributes, index=index, parent=_ROOT, handle=_HANDLE)


def _lead_through(netlink: Netlink, member: Member, shaper: int) -> None:
    from pyroute2.netlink.rtnl.tcmsg import cls_u32

    mode = NLM_F_CREATE | NLM_F_EXCL
    name = member.link
    action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": shaper}
    options = cls_u32.get_parameters({"target": _HANDLE, "keys": ["0x0/0x0+0"], "action": action})
    filtering = {"TCA_KIND": "u32", "TCA_OPTIONS": options}
    netlink.ask(
        RTM_NEWTFILTER, name, mode, filtering, index=member.index, parent=hooks.INGRESS, info=hooks.everything(2)
    )
