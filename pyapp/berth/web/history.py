"""The history of what device and containers use: coarse, bounded, and only where the user has switched it on.

Two files of lines in the state folder, the older one given up when the newer one is full.  Without history no file is
there and nothing wakes for it.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from berth.engine.containers import all_names, look_up
from berth.engine.events import EVENTS_SOCKET, announce
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.sockets import connect
from berth.store import replace_file
from berth.web.models import HistoryAnswer, HistoryPoint
from berth.web.samples import sample, sample_host

SECONDS = 300.0
_FILE_BYTES = 512 * 1024
_MOST_POINTS = 288


class Chosen(Struct, frozen=True):
    """What the user has chosen: whether there is a history."""

    history: bool = False


class Use(Struct, frozen=True, array_like=True):
    """Seconds of processor time since the start, bytes of memory."""

    cpu_time: float
    memory: int


class Moment(Struct, frozen=True, array_like=True):
    """A line of the file: when (Unix time), the device, and the containers that ran."""

    at: float
    host: Use
    containers: dict[str, Use]


def is_on(home: Home) -> bool:
    """Whether a history is kept."""
    try:
        with open(_choice(home), "rb") as file:
            return msgspec.json.decode(file.read(), type=Chosen).history
    except (OSError, msgspec.MsgspecError):
        return False


def switch(home: Home, *, on: bool) -> None:
    """Keep a history from now on, or forget it; one that begins has nothing of an earlier one.  Raises OSError."""
    if not is_on(home):
        _forget(home)
    replace_file(_choice(home), msgspec.json.encode(Chosen(on)))
    if not on:
        _forget(home)
    announce(home, "", "settings")


def read(home: Home, container: str, hours: int, now: float) -> HistoryAnswer:
    """Return what `container` ("" for the device) used in the last `hours`, as at most 288 points, oldest first."""
    on = is_on(home)
    wanted = [moment for moment in _moments(home) if on and now - hours * 3600 <= moment.at <= now]
    stride = -(-len(wanted) // _MOST_POINTS) or 1
    return HistoryAnswer(on, SECONDS, tuple(points(wanted[::stride], container)))


def points(moments: list[Moment], container: str) -> Iterator[HistoryPoint]:
    """Yield what was used at each moment; pure.  The processor's part is known from the second on."""
    earlier: tuple[float, Use] | None = None
    for moment in moments:
        use = moment.containers.get(container) if container else moment.host
        if use is None:
            earlier = None
            yield HistoryPoint(at=moment.at)
            continue
        percent = None
        if earlier is not None and moment.at > earlier[0] and use.cpu_time >= earlier[1].cpu_time:
            percent = 100 * (use.cpu_time - earlier[1].cpu_time) / (moment.at - earlier[0])
        earlier = moment.at, use
        yield HistoryPoint(at=moment.at, cpu=percent, memory=use.memory)


class Recorder:
    """Writes the history in a thread of its own; without one it sleeps until an event says that there is to be one."""

    def __init__(self, home: Home) -> None:
        self._home = home
        threading.Thread(target=self._record, name="history", daemon=True).start()

    def _record(self) -> None:
        with connect(f"{self._home.run}/{EVENTS_SOCKET}") as sock:
            poller = select.poll()
            poller.register(sock, select.POLLIN)
            due = self._next()
            while True:
                if poller.poll(None if due is None else min(max(0.0, due - time.time()), SECONDS) * 1000 + 1):
                    told = sock.recv(65536)
                    if not told:
                        return
                    if b'"settings"' in told:
                        due = self._next()
                elif due is not None:
                    with contextlib.suppress(OSError):  # a disk that refuses loses this moment
                        append(self._home, look(self._home))
                        if not is_on(self._home):  # switched off meanwhile, and forgotten before this was written
                            _forget(self._home)
                    due = time.time() + SECONDS

    def _next(self) -> float | None:
        """When the next moment is due; None without a history."""
        if not is_on(self._home):
            return None
        last = max((moment.at for moment in _moments(self._home)), default=0.0)
        return min(last, time.time()) + SECONDS  # a clock that was set back makes no gap of years


def look(home: Home) -> Moment:
    """Return what is used now.  Raises OSError."""
    host = sample_host(home)
    found = {}
    for name in all_names(home):
        if look_up(home, name).runs:
            with contextlib.suppress(BerthError):  # ended just now
                used = sample(home, name)
                found[name] = Use(used.cpu_time, used.memory)
    return Moment(host.at, Use(host.cpu_time, host.memory - host.memory_available), found)


def append(home: Home, moment: Moment) -> None:
    """Write a moment down behind those before it.  Raises OSError."""
    path = _path(home)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, msgspec.json.encode(moment) + b"\n")
        if os.fstat(fd).st_size > _FILE_BYTES:
            os.replace(path, f"{path}.1")
    finally:
        os.close(fd)


def _moments(home: Home) -> Iterator[Moment]:
    for path in (f"{_path(home)}.1", _path(home)):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError):  # one that was cut short
                    yield msgspec.json.decode(line, type=Moment)


def _forget(home: Home) -> None:
    for path in (f"{_path(home)}.1", _path(home)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _path(home: Home) -> str:
    return f"{home.state}/history"


def _choice(home: Home) -> str:
    return f"{home.state}/settings.json"
