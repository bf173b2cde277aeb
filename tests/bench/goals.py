"""What Berth wants to reach, each goal beside what this run measured."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.bench import inside, life_cycle, network, one_off, resident, web
from tests.bench.match import Table

_MOST_IMAGE = 10.0  # ms more than a directory
_MOST_STOP = 5.0  # ms more than init's own time
_MOST_FIFTY = 2 * 391.0  # ms; 391 is what Droidspaces 6.5.0 took for 55, on a quiet machine of this size
_MOST_PSS = 2.0  # MB
_MOST_NAT = 15.0  # ms more than the host's network; Droidspaces takes 80
_MOST_NET_PSS = 20.0  # MB
_MOST_HAND_OVER = 200.0  # ms
_LEAST_SHARE = 0.95  # of what veth and bridge carry
_LEAST_LISTS = 1000.0  # a second
_MOST_WEB_PSS = 40.0  # MB
_MOST_GROWTH = 8.0  # MB
_MOST_VERSION = 2.0  # times the interpreter alone

# What holds a goal that is not reached: counted by page faults, system calls and processor time, not by the clock.
_FORKS = (
    "A fork of Python takes 0.7 ms until it has ended again, doing nothing, and 2.6 µs for each page that it is the"
    " first to write to, because the kernel copies that; CPython 3.11 writes to every object it looks at."
)
_HELD_ONE_OFF = (
    f"{_FORKS} The worker writes to 600 pages after it was asked, PID 1 to 700: 3.4 ms. The rest is interpreted code"
    " around 500 system calls, where bwrap is one small program in C."
)
_HELD_START = (
    'The command is Python itself ("The command itself" below), so most of lxc-start fits into its beginning.'
    " Behind it are monitor, builder and PID 1, three forks that write to 2700 pages between them: 7 ms, of 17 from the"
    " request to its answer. Monitor and builder are forked while the start is being planned, and still come 2 ms after"
    " the plan; 2 ms are two groups in each cgroup hierarchy, 1.5 ms the kernel's for init's execve, which gives the"
    " memory of a forked Python back, and 1 ms the wait for init to show life."
)
_HELD_BOOT = (
    "The difference of the two starts above, and the guard over new mounts: Debian's systemd makes four before"
    " basic.target, one after the other: /run/lock, and credentials of three units. Each waits 4 to 6 ms for a fork of"
    " the monitor. The peers have no such guard."
)
_HELD_STOP = (
    "Half of it passes before init is signalled: a worker takes the request, reads the record and notes the stop. The"
    " other half is what the monitor takes back: it reads the record, removes two groups in each cgroup hierarchy (as"
    " many as /proc/cgroups has on a host with v1) and the run folder, and leaves its mounts."
)
_HELD_FIFTY = (
    "Processor time: some 35 ms for each container, in a worker, a monitor, a builder and a PID 1, much of it the"
    " kernel's for forks and the pages they write to."
)
_HELD_PSS = (
    "2.0 MB are pages which the monitor has written to, mostly to count references: in more than half of them 7"
    " words at most differ from the zygote's, in another quarter none. 0.3 MB are the interpreter's own types; the rest"
    " is its share of the zygote's. Later versions of Python leave what lives for ever alone."
)


class Goal(NamedTuple):
    """A goal and how far this run is from it; `reached` is None where one of the measurements is missing.

    `held` says what holds it where it is not reached, as far as that is known.
    """

    sentence: str
    reached: bool | None
    by: str
    held: str = ""


def judge(tables: Sequence[Table]) -> tuple[Goal, ...]:
    """Return every goal with its verdict."""

    def median(name: str) -> float | None:
        found = (table.median(name) for table in tables)
        return next((value for value in found if value is not None), None)

    def no_slower(sentence: str, ours: str, theirs: str, times: float = 1.0, *, held: str = "") -> Goal:
        goal = _compare(sentence, median(ours), median(theirs), lambda have, want: _ratio(have, want, times))
        return goal._replace(held=held)

    def within(
        sentence: str, name: str, most: float, unit: str, *, more_than: str | None = None, held: str = ""
    ) -> Goal:
        base = 0.0 if more_than is None else median(more_than)
        goal = _compare(sentence, median(name), base, lambda have, less: _difference(have - less, most, unit))
        return goal._replace(held=held)

    return (
        no_slower(
            "one-off /bin/true, through the service: no slower than bwrap",
            one_off.SERVICE,
            one_off.BWRAP,
            held=_HELD_ONE_OFF,
        ),
        no_slower("one-off /bin/true as a command: faster than runc", one_off.COLD, one_off.RUNC),
        no_slower(
            "start of a directory: faster than lxc-start -d", life_cycle.DIRECTORY, life_cycle.LXC, held=_HELD_START
        ),
        within(
            f"start of a clean image: at most {_MOST_IMAGE:g} ms more than of a directory",
            life_cycle.IMAGE,
            _MOST_IMAGE,
            "ms",
            more_than=life_cycle.DIRECTORY,
        ),
        no_slower(
            "systemd to basic.target: no slower than lxc", life_cycle.BASIC_BERTH, life_cycle.BASIC_LXC, held=_HELD_BOOT
        ),
        no_slower(
            "systemd to basic.target: no slower than nspawn",
            life_cycle.BASIC_BERTH,
            life_cycle.BASIC_NSPAWN,
            held=_HELD_BOOT,
        ),
        within(
            f"stop: init's own time and at most {_MOST_STOP:g} ms",
            life_cycle.STOP,
            _MOST_STOP,
            "ms",
            more_than=life_cycle.OWN_TIME,
            held=_HELD_STOP,
        ),
        within(
            f"50 containers started in parallel: under {_MOST_FIFTY:g} ms",
            life_cycle.FIFTY,
            _MOST_FIFTY,
            "ms",
            held=_HELD_FIFTY,
        ),
        within(
            f"memory of a monitor, started through the service: under {_MOST_PSS:g} MB",
            resident.PSS_SERVICE,
            _MOST_PSS,
            "MB",
            held=_HELD_PSS,
        ),
        within("wake-ups of monitors and supervisor while idle: none", resident.WAKE_UPS, 0.0, ""),
        no_slower(
            f"berth version: within {_MOST_VERSION:g} times of the interpreter alone",
            inside.VERSION,
            inside.INTERPRETER,
            _MOST_VERSION,
        ),
        within(
            f"start with NAT: at most {_MOST_NAT:g} ms more than on the host's network",
            network.NAT,
            _MOST_NAT,
            "ms",
            more_than=network.HOST,
        ),
        _compare(
            f"throughput: at least {_LEAST_SHARE:.0%} of veth and bridge",
            median(network.CARRIED),
            median(network.BRIDGED),
            lambda have, want: (have >= want * _LEAST_SHARE, f"{have:.0f} to {want:.0f} MB/s: {have / want:.2f} times"),
        ),
        within(f"hand-over: under {_MOST_HAND_OVER:g} ms", network.HAND_OVER, _MOST_HAND_OVER, "ms"),
        within(f"memory of the net process: under {_MOST_NET_PSS:g} MB", network.MEMORY, _MOST_NET_PSS, "MB"),
        within("wake-ups of the net process while idle: none", network.WAKE_UPS, 0.0, ""),
        _compare(
            f"lists of 20 containers: at least {_LEAST_LISTS:g} a second",
            median(web.LISTS),
            _LEAST_LISTS,
            lambda have, want: (have >= want, f"{have:.0f} a second of {want:.0f}"),
        ),
        within(
            f"20 terminals with slow readers: the web process grows by less than {_MOST_GROWTH:g} MB",
            web.GROWTH,
            _MOST_GROWTH,
            "MB",
        ),
        within(f"memory of the web process: under {_MOST_WEB_PSS:g} MB", web.MEMORY, _MOST_WEB_PSS, "MB"),
        within("wake-ups of the web process while idle: none", web.WAKE_UPS, 0.0, ""),
    )


def _compare(
    sentence: str,
    have: float | None,
    other: float | None,
    verdict: Callable[[float, float], tuple[bool, str]],
) -> Goal:
    if have is None or other is None:
        return Goal(sentence, None, "one of the two has no measurement")
    return Goal(sentence, *verdict(have, other))


def _ratio(have: float, other: float, times: float) -> tuple[bool, str]:
    return have <= other * times, f"{have:.1f} to {other:.1f} ms: {have / other:.2f} times"


def _difference(have: float, most: float, unit: str) -> tuple[bool, str]:
    return have <= most, f"{have:.1f} {unit} of {most:g}".replace("  ", " ")
