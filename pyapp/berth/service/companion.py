"""A process that the supervisor keeps alive beside itself, such as the web process."""

import os
import signal
import time
from collections.abc import Callable

from berth.kernel.processes import Process

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 60.0
_SETTLED_SECONDS = 60.0
_END_SECONDS = 10.0


class Companion:
    """One such process; `fork` makes it and returns its pid.  One that dies again and again is waited for longer."""

    def __init__(self, fork: Callable[[], int]) -> None:
        self._fork = fork
        self._pid = 0
        self._pause = _FIRST_SECONDS
        self._begun = 0.0
        self._due: float | None = time.monotonic()

    def milliseconds(self) -> float | None:
        """Return how long a poll may wait before `revive` has something to do; None for ever."""
        return None if self._due is None else max(0.0, self._due - time.monotonic()) * 1000 + 1

    def revive(self) -> None:
        """Start it if it is due."""
        now = time.monotonic()
        if self._due is None or now < self._due:
            return
        try:
            self._pid = self._fork()
        except OSError:
            self._due = now + _MOST_SECONDS
            return
        self._begun, self._due = now, None

    def ended(self, pid: int) -> bool:
        """Take note of the end of process `pid`; False when that is somebody else."""
        if pid != self._pid:
            return False
        now = time.monotonic()
        self._pause = _FIRST_SECONDS if now - self._begun > _SETTLED_SECONDS else self._pause
        self._pid, self._due = 0, now + self._pause
        self._pause = min(2 * self._pause, _MOST_SECONDS)
        return True

    def end(self) -> None:
        """Ask it to end and wait until it has; after a while it is killed."""
        if not self._pid:
            return
        process = Process(self._pid)
        process.send(signal.SIGTERM)
        if not process.wait(_END_SECONDS):
            process.send(signal.SIGKILL)
        process.close()
        os.waitpid(self._pid, 0)
