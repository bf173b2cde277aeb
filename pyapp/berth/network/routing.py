"""Makes rules and routes of the kernel what they must be, by what differs."""

from collections.abc import Collection, Mapping

from berth.network import links
from berth.network.facts import read_own_routes, read_own_rules
from berth.network.links import unless_gone
from berth.network.model import Family, Member, Uplink
from berth.network.netlink import Netlink
from berth.network.tables import same_route, wanted_routes, wanted_rules


def settle_tables(
    netlink: Netlink, family: Family, subnet: str, members: Collection[Member], uplinks: Mapping[str, Uplink]
) -> bool:
    """Make rules and routes what `members` need; tell whether anything was missing.  Raises KernelError."""
    routes = {same_route(route): route for route in wanted_routes(members, uplinks, subnet, family)}
    there = {same_route(route): route for route in read_own_routes(netlink, family)}
    for key in there.keys() - routes.keys():
        links.remove_route(netlink, there[key], family=family)
    for key in routes.keys() - there.keys():
        with unless_gone():  # a container that has just ended takes its link along
            links.add_route(netlink, routes[key], family=family)
    rules, found = wanted_rules(members, uplinks, subnet, family), read_own_rules(netlink, family)
    for rule in found - rules:
        links.remove_rule(netlink, rule, family=family)
    for rule in rules - found:
        links.add_rule(netlink, rule, family=family)
    return bool(rules - found or routes.keys() - there.keys())


def clear_tables(netlink: Netlink, family: Family) -> None:
    """Remove all of Berth's rules and routes.  Raises KernelError."""
    for rule in read_own_rules(netlink, family):
        links.remove_rule(netlink, rule, family=family)
    for route in read_own_routes(netlink, family):
        links.remove_route(netlink, route, family=family)
