"""The list of containers, ready to be sent: read again when something has happened, not at every request."""

import os
import threading
import time

import msgspec

from berth.engine.containers import all_names
from berth.engine.events import EVENTS_SOCKET
from berth.home import Home
from berth.kernel.sockets import connect
from berth.web.containers import summary
from berth.web.models import Summaries

_SECONDS = 2.0  # a monitor that was killed can't tell


class Snapshot:
    """Follows the supervisor's events in a thread of its own, which sleeps while nothing happens."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._changes = 0
        self._made_of: tuple[int, tuple[int, ...]] | None = None
        self._made_at = 0.0
        self._data = b""
        threading.Thread(target=self._follow, name="snapshot", daemon=True).start()

    def containers(self) -> bytes:
        """Return the list as JSON; at most two seconds old where nobody told of a change."""
        with self._lock:
            state = (self._changes, self._folders())
            now = time.monotonic()
            if state != self._made_of or now - self._made_at > _SECONDS:
                names = all_names(self._home)
                self._data = msgspec.json.encode(Summaries(tuple(summary(self._home, name) for name in names)))
                self._made_of, self._made_at = state, now
            return self._data

    def _folders(self) -> tuple[int, ...]:
        times = []
        for path in (self._home.containers, f"{self._home.run}/containers"):
            try:
                times.append(os.stat(path).st_mtime_ns)
            except OSError:
                times.append(0)
        return tuple(times)

    def _follow(self) -> None:
        with connect(f"{self._home.run}/{EVENTS_SOCKET}") as sock:
            while sock.recv(65536):
                self._changes += 1  # only this thread writes it
