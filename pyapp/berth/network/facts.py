"""Reads the phone's own network from the kernel."""

import socket
from typing import Any, Final

from berth.network.addresses import LINK_PREFIX
from berth.network.model import Facts, Family, Link, Route, Rule
from berth.network.netlink import RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_GETRULE, Fields, Netlink
from berth.network.tables import PRIORITIES
from berth.network.uplinks import OWN_TABLES

_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_IFF_NOARP: Final = 0x80
_ETHERNET: Final = 1  # ARPHRD_ETHER
_FIB_RULE_INVERT: Final = 0x2
_RTM_F_CLONED: Final = 0x200
_NO_PREFIX: Final = 0xFFFFFFFF
_LOCAL_TABLE: Final = 255
_LOOK_UP: Final = 1
_AF: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def read_facts(netlink: Netlink, family: Family = 4) -> Facts:
    """Return the network without the links, routes and rules that are Berth's own; raises KernelError."""
    number = _AF[family]
    links = [_link(found) for found in netlink.dump(RTM_GETLINK, "the links")]
    own = {link.index for link in links if link.name.startswith(LINK_PREFIX)}
    routes = [_route(found) for found in netlink.dump(RTM_GETROUTE, "the routes", family=number)]
    rules = (_rule(found) for found in netlink.dump(RTM_GETRULE, "the rules", family=number))
    addresses = netlink.dump(RTM_GETADDR, "the addresses", family=number)
    return Facts(
        links=tuple(link for link in links if link.index not in own),
        routes=tuple(
            route
            for route in routes
            if route is not None and route.link not in own and route.table not in (*OWN_TABLES, _LOCAL_TABLE)
        ),
        rules=tuple(rule for rule in rules if rule.priority not in PRIORITIES),
        addresses=tuple(
            sorted(
                _either(found, "IFA_LOCAL", "IFA_ADDRESS")
                for found in addresses
                if found["index"] not in own and found.get("IFA_ADDRESS")
            )
        ),
    )


def read_own_routes(netlink: Netlink, family: Family) -> set[Route]:
    """Return the routes in Berth's own tables; raises KernelError."""
    routes = (_route(found) for found in netlink.dump(RTM_GETROUTE, "the routes", family=_AF[family]))
    return {route for route in routes if route is not None and route.table in OWN_TABLES}


def read_own_rules(netlink: Netlink, family: Family) -> set[Rule]:
    """Return the rules at Berth's own priorities; raises KernelError."""
    rules = (_rule(found) for found in netlink.dump(RTM_GETRULE, "the rules", family=_AF[family]))
    return {rule for rule in rules if rule.priority in PRIORITIES}


def _link(found: Fields) -> Link:
    up = found["flags"] & _IFF_UP and found["flags"] & _IFF_RUNNING
    return Link(
        index=found["index"],
        name=found["IFLA_IFNAME"],
        mtu=found.get("IFLA_MTU", 1500),
        up=bool(up),
        ethernet=found["ifi_type"] == _ETHERNET and not found["flags"] & _IFF_NOARP,
    )


def _route(found: Fields) -> Route | None:
    """The route, None for one of the kernel's cache."""
    if found["flags"] & _RTM_F_CLONED:
        return None
    hop = found.get("RTA_MULTIPATH", [{}])[0] if "RTA_OIF" not in found else {}
    hop_gateway = next((value for name, value in hop.get("attrs", ()) if name == "RTA_GATEWAY"), None) if hop else None
    destination = f"{found['RTA_DST']}/{found['dst_len']}" if found["dst_len"] else ""
    return Route(
        table=_either(found, "RTA_TABLE", "table"),
        destination=destination,
        link=found.get("RTA_OIF", hop.get("oif", 0) if hop else 0),
        gateway=found.get("RTA_GATEWAY", hop_gateway),
        metric=found.get("RTA_PRIORITY", 0),
        kind=found["type"],
        scope=found["scope"],
    )


def _rule(found: Fields) -> Rule:
    users = found.get("FRA_UID_RANGE")
    suppressed = found.get("FRA_SUPPRESS_PREFIXLEN", _NO_PREFIX)
    return Rule(
        priority=found.get("FRA_PRIORITY", 0),
        action=found["action"],
        table=_either(found, "FRA_TABLE", "table") if found["action"] == _LOOK_UP else 0,
        goto=found.get("FRA_GOTO", 0),
        mark=found.get("FRA_FWMARK", 0),
        mask=found.get("FRA_FWMASK", 0),
        iif=found.get("FRA_IIFNAME", ""),
        oif=found.get("FRA_OIFNAME", ""),
        source=f"{found['FRA_SRC']}/{found['src_len']}" if found["src_len"] else "",
        destination=f"{found['FRA_DST']}/{found['dst_len']}" if found["dst_len"] else "",
        users=_users(users) if users else None,
        least_prefix=-1 if suppressed == _NO_PREFIX else suppressed,
        inverted=bool(found["flags"] & _FIB_RULE_INVERT),
    )


def _either(found: Fields, attribute: str, field: str) -> Any:
    """The attribute, which can hold more than the `field` that is older than it."""
    return found[attribute] if attribute in found else found[field]


def _users(told: object) -> tuple[int, int]:
    first, _, last = str(told).partition(":")
    return int(first), int(last)
