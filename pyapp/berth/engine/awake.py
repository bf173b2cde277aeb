"""Keeps the device from going to sleep for a container, always or while there is power."""

import contextlib
from collections.abc import Callable

from berth.android import wakelocks
from berth.android.power import has_power
from berth.engine.switchboard import Switchboard
from berth.kernel.uevents import UeventSocket
from berth.plan.model import Wakelock

EFFECT = "wakelock"
"""The kind of the journal's entry."""

_NEWS = ("add", "remove", "change")


class Awake:
    """Holds a wakelock from now on, as its policy says.  Whoever undoes the record lets go of it.

    `complain` takes a sentence about what does not work: no container ends for that.
    """

    def __init__(self, wakelock: Wakelock, complain: Callable[[str], None]) -> None:
        self._wakelock = wakelock
        self._complain = complain
        self._held = False
        self._uevents: UeventSocket | None = None
        if wakelock.policy == "charging":
            try:
                self._uevents = UeventSocket(_NEWS)  # before the first look, so that nothing is missed
            except OSError as error:
                complain(f"wakelock: whether the device has power is looked at only now: {error}")
        self.follow()

    def watch_by(self, board: Switchboard) -> None:
        """Have `board` call `follow` when there is news."""
        if self._uevents is not None:
            board.watch(self._uevents.fileno(), self.follow)

    def follow(self) -> None:
        """Hold the wakelock, or let go of it, as things are now."""
        if self._uevents is not None:
            with contextlib.suppress(OSError):  # ENOBUFS: what was lost said no more than to look
                self._uevents.read()
        wanted = self._wakelock.policy == "running" or has_power()
        if wanted == self._held:
            return
        try:
            (wakelocks.hold if wanted else wakelocks.let_go)(self._wakelock.name)
        except OSError as error:
            self._complain(f"wakelock {self._wakelock.name}: could not be {'held' if wanted else 'let go of'}: {error}")
        else:
            self._held = wanted
