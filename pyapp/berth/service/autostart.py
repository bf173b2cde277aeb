"""Which containers start with the service, and when each may: after those it waits for, otherwise all at once."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from berth.android import properties
from berth.android.module import describe
from berth.android.storage import needs_unlock
from berth.engine import probation, rest, safe_mode
from berth.engine.events import Event
from berth.engine.recover import recover
from berth.errors import BerthError, UsageError
from berth.home import Home
from berth.kernel.processes import die_with_parent
from berth.spec import Spec
from berth.store import list_names, load_spec

# What else a start waits for; a space begins no name of a container.
RECOVERED = " recovered"
BOOTED = " booted"
UNLOCKED = " unlocked"


class Autostart:
    """What the service does of itself: it recovers what a crash left, then starts containers, each on probation.

    `fork` does something in a process of its own and returns its pid, `log` takes a sentence.
    """

    def __init__(self, home: Home, fork: Callable[[Callable[[], None]], int], log: Callable[[str], None]) -> None:
        self.home = home
        self._fork = fork
        self._log = log
        self._kept_back: frozenset[str] = frozenset()
        self._waiting: dict[str, frozenset[str]] = {}
        self._under_way: dict[int, str] = {}
        self._done: set[str] = set()
        self._probation: dict[str, float] = {}

    def begin(self) -> None:
        """Judge the last boot, and start waiting for all that an autostart waits for."""
        with contextlib.suppress(OSError):  # a module that was removed, a full disk: containers start all the same
            safe_mode.judge_this_boot(self.home, asked_for=properties.end_was_asked_for())
            describe(safe_mode.summary(self.home))
        kept_back = safe_mode.kept_back(self.home)
        self._kept_back = frozenset(kept_back)
        specs = self._wanted()
        for spec in specs:
            if spec.name in kept_back:
                self._log(f"container {spec.name}: does not start by itself, because {kept_back[spec.name]}")
        for name in probation.markers(self.home):
            self._probation[name] = time.monotonic() + probation.SECONDS
        self._do(RECOVERED, self._recover)
        self._wait_for(specs, kept_back)

    def try_again(self) -> None:
        """Start what was kept back when this began and is no longer, as it would have been then."""
        again = self._kept_back.difference(safe_mode.kept_back(self.home))
        self._kept_back -= again
        self._wait_for([spec for spec in self._wanted() if spec.name in again], ())

    def _wanted(self) -> list[Spec]:
        return [spec for spec in self._specs() if spec.autostart and not rest.is_noted(self.home, spec.name)]

    def _wait_for(self, specs: list[Spec], kept_back: Collection[str]) -> None:
        """Start those of `specs` that are not `kept_back`, each when its time has come."""
        self._waiting |= waiting_for(specs, kept_back, encrypted=properties.file_encrypted())
        gates = (
            {gate for waited in self._waiting.values() for gate in waited} - self._done - {*self._under_way.values()}
        )
        if BOOTED in gates:
            self._do(BOOTED, partial(_wait, properties.wait_until_booted))
        if UNLOCKED in gates:
            self._do(UNLOCKED, partial(_wait, properties.wait_until_unlocked))
        self._start_whose_time_has_come()

    def ended(self, pid: int) -> None:
        """Take note of the end of process `pid`: it may be what a container waits for."""
        if pid in self._under_way:
            name = self._under_way.pop(pid)
            self._done.add(name)
            if probation.is_marked(self.home, name):  # it runs; or its start was killed, and nobody tells of that
                self._probation.setdefault(name, time.monotonic() + probation.SECONDS)
            self._start_whose_time_has_come()

    def _start_whose_time_has_come(self) -> None:
        for name in startable(self._waiting, self._under_way.values(), self._done):
            del self._waiting[name]
            self._do(name, partial(safe_mode.start_on_probation, self.home, name))

    def take_note(self, event: Event) -> None:
        """Time a container that runs with a marker, as an event tells; one that has ended spared the phone."""
        if event.event == "running" and probation.is_marked(self.home, event.name):
            self._probation[event.name] = time.monotonic() + probation.SECONDS
        elif event.event in ("stopped", "failed") and event.name in self._probation:
            self._survived(event.name)

    def milliseconds(self) -> float | None:
        """Return in how many milliseconds the next probation ends; None for never."""
        if not self._probation:
            return None
        return max(0.0, min(self._probation.values()) - time.monotonic()) * 1000 + 1

    def end_probations(self) -> None:
        """Take away the markers of containers that the phone has lived with for long enough."""
        for name in [name for name, end in self._probation.items() if end <= time.monotonic()]:
            self._survived(name)

    def _survived(self, name: str) -> None:
        del self._probation[name]
        with contextlib.suppress(OSError):
            probation.unmark(self.home, name)

    def _do(self, name: str, action: Callable[[], None]) -> None:
        """Do `action` in a process of its own, whose end is told by `name`, a container's or a gate's."""
        self._under_way[self._fork(action)] = name

    def _recover(self) -> None:
        for sentence in recover(self.home):
            self._log(sentence)

    def _specs(self) -> list[Spec]:
        specs = []
        for name in list_names(self.home):
            try:
                specs.append(load_spec(self.home, name))
            except BerthError as error:
                self._log(str(error))
        return specs


def _wait(until: Callable[[], None]) -> None:
    """Return after `until`, for a service that is still there: the next one waits for itself."""
    die_with_parent()
    until()


def waiting_for(specs: Iterable[Spec], kept_back: Collection[str], *, encrypted: bool) -> dict[str, frozenset[str]]:
    """Return, for each container that starts by itself and is not `kept_back`, what it starts after.

    That is the recovery, the end of the device's boot, with `encrypted` the first unlock if it needs that, and other
    containers.  One that doesn't start by itself is not waited for: it may never come.
    """
    chosen = {spec.name: spec for spec in specs if spec.autostart and spec.name not in kept_back}
    found = {}
    for name, spec in chosen.items():
        gates = {RECOVERED, BOOTED} | ({UNLOCKED} if encrypted and needs_unlock(spec) else set())
        found[name] = frozenset(gates | ({*spec.start_after, *_gateway(spec)} & chosen.keys()))
    return found


def in_order(specs: Iterable[Spec]) -> list[str]:
    """Return the names of those that start by themselves, in the order of their starts; those at once by name."""
    waiting = waiting_for(specs, (), encrypted=False)
    done = {RECOVERED, BOOTED}
    order: list[str] = []
    while waiting:
        order += (free := startable(waiting, (), done))
        done.update(free)
        waiting = {name: others for name, others in waiting.items() if name not in done}
    return order


def queued(specs: Iterable[Spec], names: Sequence[str]) -> list[Spec]:
    """Return what has to be saved anew of `specs` for a start in the order of `names`, each after the one before it.

    Raises UsageError where `names` are not those that start by themselves, or one comes before its router.
    """
    chosen = {spec.name: spec for spec in specs if spec.autostart}
    if sorted(names) != sorted(chosen):
        raise UsageError("autostart: others start with the device by now than in this list; load it again")
    if in_order(chosen.values()) == list(names):
        return []
    changed = []
    for index, name in enumerate(names):
        spec, earlier = chosen[name], names[:index]
        late = [router for router in _gateway(spec) if router in chosen and router not in earlier]
        if late:
            raise UsageError(f"autostart: {late[0]} is the router of {name}, so it has to start first")
        others = tuple(other for other in spec.start_after if other not in chosen)
        changed.append(replace(spec, start_after=(*others, *earlier[-1:])))
    return [spec for spec in changed if spec != chosen[spec.name]]


def _gateway(spec: Spec) -> tuple[str, ...]:
    """The container that is its router, which it can be plugged into at once when that is there first."""
    return (spec.gateway,) if spec.net == "gateway" and spec.gateway is not None else ()


def startable(waiting: Mapping[str, frozenset[str]], under_way: Collection[str], done: Collection[str]) -> list[str]:
    """Return the names in `waiting` that may start now, sorted, given those `under_way` and those `done` (or failed).

    Where containers wait for each other in a ring and nothing is under way, all of those that are left may start.
    """
    free = sorted(name for name, others in waiting.items() if others <= set(done))
    return free if free or under_way else sorted(waiting)
