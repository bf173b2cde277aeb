"""Makes and removes what the kernel has for containers: links, addresses, routes, rules.  See rtnetlink(7)."""

import contextlib
import errno
import socket
from typing import Final

from berth.host import Lease
from berth.kernel.call import KernelError
from berth.network.model import Family, Route, Rule, Traffic
from berth.network.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
    Fields,
    Netlink,
    index_of,
)

_IFF_UP: Final = 0x1
_IFA_F_NODAD: Final = 0x02
_RTPROT_STATIC: Final = 4
_MAIN: Final = 254
_ONLINK: Final = 4
_IPVLAN_L2: Final = 0
_AF_BRIDGE: Final = 7
_STATIC: Final = 0x40  # NUD_NOARP: as linux/if_bridge.h calls an entry that stays
_OF_BRIDGE: Final = 0x04  # NTF_MASTER
_GONE: Final = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)
_AF: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_WHOLE: Final = {4: 32, 6: 128}


def make_veth(netlink: Netlink, name: str, alias: str, *, namespace: int, inner: str, mac: str, mtu: int) -> int:
    """Make a veth pair, its other end `inner` in `namespace`, in the place of an old one; return the index of ours.

    Raises KernelError.  See veth(4).
    """
    if index_of(name) is not None:
        remove_link(netlink, name, alias)
    peer = {
        "attrs": [["IFLA_IFNAME", inner], ["IFLA_ADDRESS", mac], ["IFLA_MTU", mtu], ["IFLA_NET_NS_FD", namespace]],
    }
    data = {"attrs": [["VETH_INFO_PEER", peer]]}
    info = {"attrs": [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", data]]}
    attributes = {"IFLA_IFNAME": name, "IFLA_MTU": mtu, "IFLA_LINKINFO": info}
    netlink.ask(RTM_NEWLINK, name, NLM_F_CREATE | NLM_F_EXCL, attributes)
    index = find(name)
    name_owner(netlink, index, alias)
    return index


def make_bridge(netlink: Netlink, name: str, alias: str, *, mac: str | None = None) -> int:
    """Make the bridge `name` unless it is there; return its index.  Raises KernelError.  See bridge(8).

    Without a `mac` of its own it has that of one of its ports.
    """
    if not is_there(name):
        info = {"attrs": [["IFLA_INFO_KIND", "bridge"]]}
        attributes = {"IFLA_IFNAME": name, "IFLA_ADDRESS": mac, "IFLA_LINKINFO": info}
        netlink.ask(RTM_NEWLINK, name, NLM_F_CREATE | NLM_F_EXCL, attributes)
    index = find(name)
    name_owner(netlink, index, alias)
    return index


def enslave(netlink: Netlink, index: int, bridge: int) -> None:
    """Put a link into a bridge; raises KernelError."""
    netlink.ask(RTM_SETLINK, f"link {index}", attrs={"IFLA_MASTER": bridge}, index=index)


def reflect(netlink: Netlink, index: int) -> None:
    """Have the bridge give back to a port what came by it and is meant for it; raises KernelError."""
    data = {"attrs": [["IFLA_BRPORT_MODE", 1]]}
    info = {"attrs": [["IFLA_INFO_SLAVE_KIND", "bridge"], ["IFLA_INFO_SLAVE_DATA", data]]}
    netlink.ask(RTM_NEWLINK, f"link {index}", attrs={"IFLA_LINKINFO": info}, index=index)


def learn_nothing(netlink: Netlink, index: int, mac: str) -> None:
    """Have the bridge send what is for `mac` by the port `index` alone, and believe nothing that comes by it.

    It would remember every sender, and a container can have millions of names.  Raises KernelError.
    """
    data = {"attrs": [["IFLA_BRPORT_LEARNING", 0]]}
    info = {"attrs": [["IFLA_INFO_SLAVE_KIND", "bridge"], ["IFLA_INFO_SLAVE_DATA", data]]}
    netlink.ask(RTM_NEWLINK, f"link {index}", attrs={"IFLA_LINKINFO": info}, index=index)
    mode = NLM_F_CREATE | NLM_F_REPLACE
    attributes = {"NDA_LLADDR": mac}
    netlink.ask(RTM_NEWNEIGH, mac, mode, attributes, family=_AF_BRIDGE, ifindex=index, state=_STATIC, flags=_OF_BRIDGE)


def make_upper(netlink: Netlink, kind: str, parent: int, *, namespace: int, inner: str, mac: str) -> None:
    """Make a macvlan or ipvlan link on `parent`, as `inner` in `namespace`; ipvlan has the parent's MAC.

    Raises KernelError, EOPNOTSUPP where the kernel does not have that kind.  See ip-link(8).
    """
    data = ["IFLA_MACVLAN_MODE", "bridge"] if kind == "macvlan" else ["IFLA_IPVLAN_MODE", _IPVLAN_L2]
    info = {"attrs": [["IFLA_INFO_KIND", kind], ["IFLA_INFO_DATA", {"attrs": [data]}]]}
    attributes = {
        "IFLA_IFNAME": inner,
        "IFLA_ADDRESS": mac if kind == "macvlan" else None,
        "IFLA_LINK": parent,
        "IFLA_NET_NS_FD": namespace,
        "IFLA_LINKINFO": info,
    }
    netlink.ask(RTM_NEWLINK, inner, NLM_F_CREATE | NLM_F_EXCL, attributes)


def remove(netlink: Netlink, name: str) -> None:
    """Remove the link `name` in the caller's network namespace; one that has gone is fine."""
    with unless_gone():
        netlink.ask(RTM_DELLINK, name, index=find(name))


def name_owner(netlink: Netlink, index: int, alias: str) -> None:
    """Give a link the alias by which it is known as ours, which RTM_NEWLINK passes over; raises KernelError."""
    netlink.ask(RTM_SETLINK, f"link {index}", attrs={"IFLA_IFALIAS": alias}, index=index)


def remove_link(netlink: Netlink, name: str, alias: str) -> None:
    """Remove the link `name` if it carries `alias`, which is how ours are told from a stranger's.

    One that has no alias yet was made by a process that was killed in that moment: its name is enough.
    """
    for found in netlink.dump(RTM_GETLINK, name):
        if found["IFLA_IFNAME"] == name and found.get("IFLA_IFALIAS", alias) == alias:
            with unless_gone():
                netlink.ask(RTM_DELLINK, name, index=found["index"])


def find(name: str) -> int:
    """Return the index of the link `name` in the caller's network namespace; raises KernelError (ENODEV)."""
    index = index_of(name)
    if index is None:
        raise KernelError("if_nametoindex", errno.ENODEV, name)
    return index


def is_there(name: str) -> bool:
    """Tell whether there is a link `name` in the caller's network namespace."""
    return index_of(name) is not None


def switch(netlink: Netlink, name: str, *, on: bool) -> None:
    """Switch a link on or off, as a cable that is plugged in or pulled; raises KernelError."""
    flags = _IFF_UP if on else 0
    netlink.ask(RTM_SETLINK, name, index=find(name), flags=flags, change=_IFF_UP)


def traffic_of(netlink: Netlink, index: int) -> Traffic:
    """Return what the other end of a veth has received and sent since it was made; nothing where it has gone."""
    try:
        counted = netlink.get(RTM_GETLINK, f"link {index}", index=index)["IFLA_STATS64"]
    except KernelError as error:
        if error.errno not in _GONE:
            raise
        return Traffic(0, 0)
    return Traffic(received=counted["tx_bytes"], sent=counted["rx_bytes"])


def switch_on(netlink: Netlink, index: int, *, mtu: int | None = None) -> None:
    """Switch a link on, and give it an MTU; raises KernelError."""
    netlink.ask(RTM_SETLINK, f"link {index}", attrs={"IFLA_MTU": mtu}, index=index, flags=_IFF_UP, change=_IFF_UP)


def set_mtu(netlink: Netlink, index: int, mtu: int) -> None:
    """Give a link that may have gone another MTU."""
    with unless_gone():
        netlink.ask(RTM_SETLINK, f"link {index}", attrs={"IFLA_MTU": mtu}, index=index)


def add_address(netlink: Netlink, index: int, address: str, length: int, *, family: Family = 4) -> None:
    """Give a link an address; one that it has already is fine.  IPv6 is usable at once (no DAD)."""
    flags = _IFA_F_NODAD if family == 6 else 0
    attributes = {"IFA_LOCAL": address, "IFA_ADDRESS": address, "IFA_FLAGS": flags or None}
    netlink.ask(
        RTM_NEWADDR,
        address,
        NLM_F_CREATE | NLM_F_REPLACE,
        attributes,
        family=_AF[family],
        prefixlen=length,
        index=index,
        flags=flags,
    )


def add_gateway(netlink: Netlink, index: int, lease: Lease) -> None:
    """Give the phone's link to containers the addresses that it has among them; raises KernelError."""
    add_address(netlink, index, lease.gateway, 32)
    if lease.gateway6:
        add_address(netlink, index, lease.gateway6, 128, family=6)


def add_route(netlink: Netlink, route: Route, *, family: Family = 4) -> None:
    """Add `route` in the place of one like it; raises KernelError."""
    mode = NLM_F_CREATE | NLM_F_REPLACE
    netlink.ask(RTM_NEWROUTE, _shown(route), mode, _route(route), **_route_header(route, family))


def add_way_out(netlink: Netlink, index: int, gateway: str, *, family: Family = 4) -> None:
    """Make `gateway`, which is behind link `index`, the default; raises KernelError."""
    if family == 6:
        add_route(netlink, Route(table=_MAIN, destination=f"{gateway}/128", link=index), family=6)
    add_route(netlink, Route(table=_MAIN, link=index, gateway=gateway), family=family)


def remove_route(netlink: Netlink, route: Route, *, family: Family = 4) -> None:
    """Remove `route`; one that has gone is fine."""
    with unless_gone():
        netlink.ask(RTM_DELROUTE, _shown(route), 0, _route(route), **_route_header(route, family))


def add_rule(netlink: Netlink, rule: Rule, *, family: Family = 4) -> None:
    """Add `rule`; one like it that is there already is fine."""
    try:
        mode = NLM_F_CREATE | NLM_F_EXCL
        netlink.ask(RTM_NEWRULE, _shown_rule(rule), mode, _rule(rule), **_rule_header(rule, family))
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


def remove_rule(netlink: Netlink, rule: Rule, *, family: Family = 4) -> None:
    """Remove `rule`; one that has gone is fine."""
    with unless_gone():
        netlink.ask(RTM_DELRULE, _shown_rule(rule), 0, _rule(rule), **_rule_header(rule, family))


def _route(route: Route) -> Fields:
    return {
        "RTA_TABLE": route.table,
        "RTA_DST": route.destination.partition("/")[0] or None,
        "RTA_OIF": route.link or None,
        "RTA_GATEWAY": route.gateway,
        "RTA_PRIORITY": route.metric or None,
    }


def _route_header(route: Route, family: Family) -> Fields:
    length = int(route.destination.partition("/")[2] or _WHOLE[family]) if route.destination else 0
    return {
        "family": _AF[family],
        "dst_len": length,
        "table": 0,
        "type": route.kind,
        "scope": route.scope,
        "proto": _RTPROT_STATIC,
        "flags": _ONLINK if route.gateway and family == 4 else 0,
    }


def _rule(rule: Rule) -> Fields:
    return {
        "FRA_PRIORITY": rule.priority,
        "FRA_TABLE": rule.table or None,
        "FRA_GOTO": rule.goto or None,
        "FRA_IIFNAME": rule.iif or None,
        "FRA_SRC": rule.source.partition("/")[0] or None,
        "FRA_DST": rule.destination.partition("/")[0] or None,
    }


def _rule_header(rule: Rule, family: Family) -> Fields:
    def length(net: str) -> int:
        return int(net.partition("/")[2] or _WHOLE[family]) if net else 0

    return {
        "family": _AF[family],
        "src_len": length(rule.source),
        "dst_len": length(rule.destination),
        "table": 0,
        "action": rule.action,
    }


def _shown(route: Route) -> str:
    return f"route to {route.destination or 'everywhere'} in table {route.table}"


def _shown_rule(rule: Rule) -> str:
    return f"rule {rule.priority}"


def unless_gone() -> contextlib.AbstractContextManager[None]:
    """Pass over a KernelError that says that the object, or the link it belongs to, is not there."""
    return _Unless(_GONE)


class _Unless(contextlib.AbstractContextManager[None]):
    """Passes over a KernelError with one of `numbers`."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = numbers

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, KernelError) and error.errno in self._numbers
