"""The routes and rules that containers need, decided from who is there and which uplink each one has."""

from collections.abc import Iterable, Mapping

from berth.network.model import Family, Member, Route, Rule, Uplink
from berth.network.uplinks import CLOSED, FROM_MEMBER, MEMBERS_TABLE, OTHER_SOURCE, OWN_SOURCE, TO_MEMBERS

_LOOK_UP, _GO_TO, _BLACKHOLE, _UNREACHABLE_RULE = 1, 2, 6, 7  # FR_ACT_*
_UNICAST, _UNREACHABLE = 1, 7  # RTN_*
_SCOPE_LINK = 253
PRIORITIES = range(OWN_SOURCE, CLOSED + 1)


def wanted_rules(members: Iterable[Member], uplinks: Mapping[str, Uplink], subnet: str, family: Family) -> set[Rule]:
    """Return the rules: one that leads to `subnet`, and for each member those that lead to its uplink.

    `uplinks` are by the members' names.  A way that is closed ends in a refusal.  What comes by a member's link from
    another address than its own goes nowhere: unlike rp_filter, that holds for IPv6, and whatever "all" is set to.
    """
    rules = {Rule(priority=TO_MEMBERS, action=_LOOK_UP, table=MEMBERS_TABLE, destination=subnet)}
    for member in members:
        source = _whole(member, family)
        uplink = uplinks[member.wish.name]
        if not source:
            continue
        rules.add(Rule(priority=OWN_SOURCE, action=_GO_TO, goto=TO_MEMBERS, iif=member.way, source=source))
        rules.add(Rule(priority=OTHER_SOURCE, action=_BLACKHOLE, iif=member.way))
        for step, table in enumerate(uplink.tables):
            rules.add(Rule(priority=FROM_MEMBER + step, action=_LOOK_UP, table=table, source=source))
        if uplink.closed:
            rules.add(Rule(priority=CLOSED, action=_UNREACHABLE_RULE, source=source))
    return rules


def wanted_routes(members: Iterable[Member], uplinks: Mapping[str, Uplink], subnet: str, family: Family) -> set[Route]:
    """Return the routes: one to each member, none to addresses of `subnet` that nobody has, and copies for uplinks."""
    routes = {Route(table=MEMBERS_TABLE, destination=subnet, kind=_UNREACHABLE)}
    for member in members:
        if member.way_index and (destination := _whole(member, family)):
            scope = _SCOPE_LINK if family == 4 else 0
            routes.add(Route(table=MEMBERS_TABLE, destination=destination, link=member.way_index, scope=scope))
        routes |= set(uplinks[member.wish.name].copied)
    return routes


def same_route(route: Route) -> tuple[object, ...]:
    """Return what tells one route from another; the kernel fills in the rest as it likes."""
    return route.table, route.destination, route.kind, route.link if route.kind == _UNICAST else 0, route.gateway


def _whole(member: Member, family: Family) -> str:
    """The member's own address as CIDR; "" where it has none of this family."""
    if family == 4:
        return f"{member.lease.address}/32"
    return f"{member.lease.address6}/128" if member.lease.address6 else ""
