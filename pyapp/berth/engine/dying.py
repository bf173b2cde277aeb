"""Waits for what ends with a container, and tells what the kernel holds from what is only slow.

PID 1 ends when all of its PID namespace has, a sync(2) that it had begun with it, and the last mount of an image goes
when what was written there is on the disk.  On a slow phone that takes much longer than anybody should wait for what is
stuck for good.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence, Set
from typing import Final, Literal

from berth.engine.cgroup_trees import kill, processes
from berth.kernel.files import read_file
from berth.kernel.processes import Process, processor_seconds, status_field

Fate = Literal["ended", "stuck", "slow"]

LOOK_SECONDS: Final = 0.25
_STILL_LOOKS: Final = 20  # five seconds
_MOST_LOOKS: Final = 2400  # ten minutes
_SWITCHES: Final = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


def await_end(process: Process, groups: Sequence[str] = (), disk: str = "", still_looks: int = _STILL_LOOKS) -> Fate:
    """Wait until `process`, which was sent SIGKILL, has ended, and kill all that is in the cgroups `groups`.

    "stuck" when nothing has moved for five seconds, see `wait_while_it_moves`.
    """
    struck: set[int] = set()

    def ends(seconds: float) -> bool:
        until = time.monotonic() + seconds
        there = _in(groups)
        if there - struck:  # each once only: what is frozen to be struck moves by that
            _strike(groups, until)
            struck.update(there)
        return process.wait(max(0.0, until - time.monotonic()))

    return wait_while_it_moves(ends, lambda: {*_in(groups), process.pid}, disk, still_looks)


def wait_while_it_moves(
    ends: Callable[[float], bool], moving: Callable[[], Set[int]], disk: str, still_looks: int
) -> Fate:
    """Wait until `ends`, which is given seconds for a look, is true.

    "stuck" when nothing has moved from one look to the next for `still_looks` in a row: neither one of the processes
    `moving`, nor the file `disk`, in which the kernel counts what gets to a disk ("" for none; see the kernel's
    Documentation/block/stat.rst).  "slow" is what still moves after ten minutes.  Looks are counted and not time: a
    machine that stands still itself makes nobody a stuck one.
    """
    before, still = None, 0
    for _ in range(_MOST_LOOKS):
        if ends(LOOK_SECONDS):
            return "ended"
        now = (frozenset(map(_moves, moving())), _counted(disk))
        still = still + 1 if now == before else 0
        if still == still_looks:
            return "stuck"
        before = now
    return "slow"


def disk_below(pid: int, image: str) -> str:
    """Return the file in which the kernel counts what gets to the disk that is the root of process `pid`.

    "" where that is no disk's, or the process is gone, or the disk is none that `image` may be on: root inside may
    change to any root that it sees, and a disk of the phone's is written to all the time.
    """
    with contextlib.suppress(OSError):
        device = os.stat(f"/proc/{pid}/root").st_dev
        folder = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
        if os.path.exists(f"{folder}/loop") or os.stat(image).st_rdev == device:
            return f"{folder}/stat"
    return ""


def _in(groups: Sequence[str]) -> set[int]:
    found: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found |= processes(group)
    return found


def _strike(groups: Sequence[str], until: float) -> None:
    for group in groups:
        with contextlib.suppress(OSError):
            kill(group, max(0.0, until - time.monotonic()))


def _moves(pid: int) -> tuple[object, ...]:
    """What changes with every step that it makes: its time on a processor, and how often it gave that up."""
    return (pid, processor_seconds(pid), *(status_field(pid, name) for name in _SWITCHES))


def _counted(disk: str) -> tuple[bytes, ...]:
    """The reads and writes that are done, without the time that one under way has taken."""
    if not disk:
        return ()
    try:
        fields = read_file(disk).split()
    except OSError:
        return ()
    return (fields[0], fields[4])
