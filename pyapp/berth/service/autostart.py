"""Which containers start with the service, and when each may: after those it waits for, otherwise all at once."""

from collections.abc import Collection, Iterable, Mapping

from berth.android.storage import needs_unlock
from berth.spec import Spec

# What else a start waits for; a space begins no name of a container.
RECOVERED = " recovered"
BOOTED = " booted"
UNLOCKED = " unlocked"


def waiting_for(specs: Iterable[Spec], kept_back: Collection[str], *, encrypted: bool) -> dict[str, frozenset[str]]:
    """Return, for each container that starts by itself and is not `kept_back`, what it starts after.

    That is the recovery, the end of the device's boot, with `encrypted` the first unlock if it needs that, and other
    containers.  One that doesn't start by itself is not waited for: it may never come.
    """
    chosen = {spec.name: spec for spec in specs if spec.autostart and spec.name not in kept_back}
    found = {}
    for name, spec in chosen.items():
        gates = {RECOVERED, BOOTED} | ({UNLOCKED} if encrypted and needs_unlock(spec) else set())
        found[name] = frozenset(gates | (set(spec.start_after) & chosen.keys()))
    return found


def startable(waiting: Mapping[str, frozenset[str]], under_way: Collection[str], done: Collection[str]) -> list[str]:
    """Return the names in `waiting` that may start now, sorted, given those `under_way` and those `done` (or failed).

    Where containers wait for each other in a ring and nothing is under way, all of those that are left may start.
    """
    free = sorted(name for name, others in waiting.items() if others <= set(done))
    return free if free or under_way else sorted(waiting)
