"""One thread that waits for many things in one poll; without news it sleeps."""

import select
import time
from collections.abc import Callable

Action = Callable[[], object]


class Loop:
    """Calls what was registered when its descriptor is ready, and what was put off when its time has come."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._actions: dict[int, Action] = {}
        self._later: dict[str, tuple[float, Action]] = {}

    def watch(self, fd: int, action: Action, events: int = select.POLLIN) -> None:
        """Call `action` whenever `fd` is ready; a second call for the same `fd` replaces the first."""
        self._poller.register(fd, events)
        self._actions[fd] = action

    def forget(self, fd: int) -> None:
        """Watch `fd` no more; to be called before it is closed."""
        if self._actions.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def put_off(self, what: str, seconds: float, action: Action) -> None:
        """Call `action` in `seconds`, once, unless `what` was put off already."""
        self._later.setdefault(what, (time.monotonic() + seconds, action))

    def cancel(self, what: str) -> None:
        """Forget what was put off as `what`."""
        self._later.pop(what, None)

    def turn(self) -> None:
        """Wait for the next news and deal with it."""
        due = min((at for at, _ in self._later.values()), default=None)
        timeout = None if due is None else max(0.0, due - time.monotonic()) * 1000 + 1
        for fd, _ in self._poller.poll(timeout):
            if action := self._actions.get(fd):
                action()
        now = time.monotonic()
        for what in [what for what, (at, _) in self._later.items() if at <= now]:
            if what in self._later:  # one before it may have cancelled it
                self._later.pop(what)[1]()
