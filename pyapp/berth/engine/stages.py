"""Where a start and an end can be made to stand still: tests kill processes at each of these places.

With BERTH_PAUSE_AT naming a stage, the process that reaches it stops itself (SIGSTOP) until it is continued.
"""

import os
import signal

from berth.engine.events import announce
from berth.home import Home

STAGES = {
    "locked": "the worker, before anything is done",
    "forked": "the monitor, before it has a record",
    "recorded": "the builder",
    "mounted": "the builder, with the image mounted",
    "cgroups": "the builder",
    "joined": "PID 1, or the set-up child where one is needed, in its cgroups",
    "namespaces": "the builder, while PID 1 is being set up",
    "built": "PID 1, with all mounts made",
    "ready": "the builder, while PID 1 waits for its word",
    "released": "PID 1, which has got that word",
    "executed": "the builder, with init running but not recorded",
    "running": "the builder, with all recorded but not yet handed over",
    "ended": "the monitor, after PID 1's end",
    "undone": "the monitor, with everything taken back but the record",
    "entered": "what `enter` and `run` start, inside but not yet the program",
}
"""Which process stands still where, in the order in which a start and an end reach the stages."""

_PAUSE_AT = os.environ.get("BERTH_PAUSE_AT")
TOLD = ("recorded", "mounted", "cgroups", "namespaces", "ready", "executed")
"""Those that the builder, which is outside, tells of as progress."""


def come_to(home: Home, name: str, stage: str) -> None:
    """Tell the operation that starts container `name` how far that is, and stop here if the environment says so."""
    if stage in TOLD:
        announce(home, name, "progress", stage)
    reached(stage)


def reached(stage: str) -> None:
    """Stop here if the environment says so."""
    if stage != _PAUSE_AT:
        return
    if os.getpid() != 1:
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    # The kernel drops what PID 1 of a namespace sends itself, so this one waits for the SIGCONT instead.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCONT,))
    signal.sigwait((signal.SIGCONT,))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
