"""Makes rules and routes of the kernel what they must be, by what differs."""

from collections.abc import Collection, Mapping

from berth.network import links
from berth.network.facts import read_own_routes, read_own_rules
from berth.network.links import unless_gone
from berth.network.model import Family, Member, Route, Rule, Uplink
from berth.network.netlink import Netlink
from berth.network.tables import same_route, wanted_routes, wanted_rules


class Tables:
    """Berth's rules and routes, and what is known to be there of them."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._routes: dict[Family, dict[tuple[object, ...], Route]] = {}
        self._rules: dict[Family, set[Rule]] = {}

    def settle(
        self,
        family: Family,
        subnet: str,
        members: Collection[Member],
        uplinks: Mapping[str, Uplink],
        *,
        check: bool = False,
    ) -> bool:
        """Make rules and routes what `members` need; tell whether anything was missing.

        What is new is there before what is old goes, so that nobody is without a way in between.

        With `check`, or where nothing is known yet, the kernel is asked what is there.  Raises KernelError.
        """
        if check or family not in self._rules:
            self._read(family)
        there, found = self._routes.pop(family), self._rules.pop(family)  # not known where it fails half way
        routes = {same_route(route): route for route in wanted_routes(members, uplinks, subnet, family)}
        for key in routes.keys() - there.keys():
            with unless_gone():  # a container that has just ended takes its link along
                links.add_route(self._netlink, routes[key], family=family)
        rules = wanted_rules(members, uplinks, subnet, family)
        for rule in rules - found:
            links.add_rule(self._netlink, rule, family=family)
        for rule in found - rules:
            links.remove_rule(self._netlink, rule, family=family)
        for key in there.keys() - routes.keys():
            links.remove_route(self._netlink, there[key], family=family)
        self._routes[family], self._rules[family] = routes, rules
        return bool(rules - found or routes.keys() - there.keys())

    def clear(self, family: Family) -> None:
        """Remove all of Berth's rules and routes.  Raises KernelError."""
        self._read(family)
        for rule in self._rules.pop(family):
            links.remove_rule(self._netlink, rule, family=family)
        for route in self._routes.pop(family).values():
            links.remove_route(self._netlink, route, family=family)

    def _read(self, family: Family) -> None:
        self._routes[family] = {same_route(route): route for route in read_own_routes(self._netlink, family)}
        self._rules[family] = read_own_rules(self._netlink, family)
