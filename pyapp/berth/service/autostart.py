"""Which containers start with the service, and when each may: after those it waits for, otherwise all at once."""

from collections.abc import Collection, Iterable, Mapping

from berth.spec import Spec


def waiting_for(specs: Iterable[Spec]) -> dict[str, frozenset[str]]:
    """Return, for each container that starts by itself, those of them that it starts after.

    A container that doesn't start by itself is not waited for: it may never come.
    """
    chosen = {spec.name: spec for spec in specs if spec.autostart}
    return {name: frozenset(spec.start_after) & chosen.keys() for name, spec in chosen.items()}


def startable(waiting: Mapping[str, frozenset[str]], under_way: Collection[str], done: Collection[str]) -> list[str]:
    """Return the names in `waiting` that may start now, sorted, given those `under_way` and those `done` (or failed).

    Where containers wait for each other in a ring and nothing is under way, all of those that are left may start.
    """
    free = sorted(name for name, others in waiting.items() if others <= set(done))
    return free if free or under_way else sorted(waiting)
