"""Which way a container's traffic leaves the phone.

Without `--upstream` it goes where the phone's own programs go.  Android's netd keeps no default route in the main table
and lets its rules hold only for what the phone itself sends (`iif lo`), so they are read as the kernel would read them
for such a packet, and their tables are looked up for the container in the same order.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from berth.network.model import Facts, Route, Rule, Uplink

OWN_TABLES = range(28_000, 29_000)  # beyond netd's, which are 1000 and an interface's index
MEMBERS_TABLE = 28_000
OWN_SOURCE, OTHER_SOURCE = 5_090, 5_091
"""Priorities of the rules that let pass what a container sends from its own address, and drop the rest."""
TO_MEMBERS = 5_100
"""Priority of the rule that leads to the containers: behind `local` (0), before the first of netd's (10000)."""
FROM_MEMBER = 5_200
"""Priority of the first rule that leads away from a container."""
CLOSED = 5_299

_MAIN = 254
_LOOK_UP = 1  # FR_ACT_TO_TBL
_REFUSALS = (6, 7, 8)
_UNICAST = 1
_EVERYTHING = 0  # a prefix length


def choose_uplink(facts: Facts, patterns: tuple[str, ...]) -> Uplink:
    """Return where traffic goes: as the phone's own, or by the first link that one of `patterns` names.

    A pinned uplink that is not there closes the way: nothing leaves by another one.
    """
    return _pinned(facts, patterns) if patterns else _as_the_phone(facts)


def _as_the_phone(facts: Facts) -> Uplink:
    tables: list[int] = []
    only_for_itself = False
    for rule in sorted(facts.rules, key=lambda rule: rule.priority):
        if not _holds_for_itself(rule):
            continue
        if rule.action in _REFUSALS:
            break
        if rule.action != _LOOK_UP or rule.table in OWN_TABLES:
            continue
        routes = [route for route in facts.routes if route.table == rule.table and _length(route) > rule.least_prefix]
        if not routes:
            continue
        only_for_itself = only_for_itself or rule.iif == "lo"
        tables.append(rule.table)
        best = _best_default(routes)
        if best is None:
            continue
        name, mtu = _link(facts, best)
        needed = only_for_itself or any(rule.action in _REFUSALS for rule in facts.rules)
        where = "the main table" if rule.table == _MAIN else f"table {rule.table}"
        return Uplink(
            link=name,
            index=best.link,
            mtu=mtu,
            tables=tuple(tables) if needed else (),
            reason=f"the phone's own traffic goes this way: rule {rule.priority}, {where}",
        )
    return Uplink(reason="the phone has no default route")


def _pinned(facts: Facts, patterns: tuple[str, ...]) -> Uplink:
    for pattern in patterns:
        for link in facts.links:
            if not (link.up and fnmatchcase(link.name, pattern)):
                continue
            defaults = [route for route in facts.routes if route.link == link.index and _is_default(route)]
            if not defaults:
                continue
            best = min(defaults, key=lambda route: route.metric)
            its_own = {route.link for route in facts.routes if route.table == best.table and route.link} == {link.index}
            own_table = OWN_TABLES.start + 1 + link.index % (len(OWN_TABLES) - 1)
            return Uplink(
                link=link.name,
                index=link.index,
                mtu=link.mtu,
                tables=(best.table,) if its_own else (own_table,),
                copied=() if its_own else tuple(_copies(facts, link.index, best.table, own_table)),
                closed=True,
                reason=f"--upstream {pattern}: it is up and has a default route",
            )
    return Uplink(closed=True, reason=f"none of --upstream {','.join(patterns)} is up with a default route")


def _copies(facts: Facts, link: int, table: int, own_table: int) -> Iterable[Route]:
    for route in facts.routes:
        if route.table == table and route.link == link and route.kind == _UNICAST:
            yield Route(
                table=own_table,
                destination=route.destination,
                link=link,
                gateway=route.gateway,
                metric=route.metric,
                scope=route.scope,
            )


def _holds_for_itself(rule: Rule) -> bool:
    """Whether `rule` is asked for a packet that a root process of the phone sends, unmarked and to anywhere."""
    users = rule.users is None or rule.users[0] <= 0 <= rule.users[1]
    anywhere = not rule.source and not rule.destination and not rule.oif and not rule.inverted
    return (anywhere and rule.iif in ("", "lo") and users and rule.mark == 0) or (
        rule.inverted and rule.mark != 0 and not rule.source and not rule.destination and rule.iif in ("", "lo")
    )


def _best_default(routes: list[Route]) -> Route | None:
    return min((route for route in routes if _is_default(route)), key=lambda route: route.metric, default=None)


def _is_default(route: Route) -> bool:
    return not route.destination and route.kind == _UNICAST and route.link != 0


def _length(route: Route) -> int:
    return int(route.destination.rpartition("/")[2]) if route.destination else _EVERYTHING


def _link(facts: Facts, route: Route) -> tuple[str, int]:
    return next(((link.name, link.mtu) for link in facts.links if link.index == route.link), ("", 1500))
