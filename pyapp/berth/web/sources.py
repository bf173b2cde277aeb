"""What a stream can tell of: events, statistics, a log, a terminal, a console.  One class for each."""

import socket
import time
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from berth import rules
from berth.engine.containers import all_names, look_up
from berth.engine.events import EVENTS_SOCKET
from berth.engine.log import LogReader
from berth.errors import BerthError, MissingError
from berth.home import Home
from berth.kernel.sockets import connect
from berth.service.operations import Ask, ask
from berth.service.terminal import OUTPUT, PACKET_BYTES
from berth.service.terminals import view
from berth.store import load_spec
from berth.web.consoles import open_console, receive
from berth.web.containers import summary
from berth.web.encoding import to_base64
from berth.web.models import Subscription
from berth.web.samples import sample, sample_host

Frame = dict[str, Any]  # a frame's other words are of its kind's own types
_CHUNK = 32 * 1024


class Source(Protocol):
    """One subscription: `fileno` is readable, or `due` seconds are over, when `more` has frames."""

    ended: bool

    def fileno(self) -> int | None:
        """Return the descriptor to wait for, None for none."""

    def due(self) -> float | None:
        """Return the seconds until there is more without it, None for never."""

    def first(self) -> Iterator[Frame]:
        """Yield what there is to tell at once."""

    def more(self) -> Iterator[Frame]:
        """Yield what there is to tell now; raises BerthError when that is over for a reason."""

    def close(self) -> None:
        """Let go of what it reads."""


def open_source(home: Home, wanted: Subscription) -> Source:
    """Return the source of a subscription; raises BerthError where it can't be had."""
    if wanted.kind == "events":
        return _Events(home)
    if wanted.kind == "statistics":
        return _Statistics(home, wanted.containers, wanted.seconds)
    if wanted.kind == "terminal":
        return _Terminal(home, wanted.terminal, wanted.position)
    container = rules.name("container", wanted.container)
    if wanted.kind == "log":
        return _Log(home, container, wanted.cursor)
    return _Console(home, container)


class _FromSocket:
    """What comes on a socket, by itself."""

    def __init__(self, sock: socket.socket) -> None:
        self.ended = False
        self._sock = sock

    def fileno(self) -> int | None:
        return self._sock.fileno()

    def due(self) -> float | None:
        return None

    def first(self) -> Iterator[Frame]:
        return iter(())

    def close(self) -> None:
        self._sock.close()


class _Events(_FromSocket):
    """What happens to containers and operations; begun by how they all are, so that nothing is ever missed."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._rest = b""
        try:
            super().__init__(connect(f"{home.run}/{EVENTS_SOCKET}"))
        except OSError as error:
            raise BerthError('the service does not run; start it with "berth serve --background"') from error

    def first(self) -> Iterator[Frame]:
        yield {
            "kind": "state",
            "containers": [summary(self._home, name) for name in all_names(self._home)],
            "operations": ask(self._home, Ask(call="list")),
        }

    def more(self) -> Iterator[Frame]:
        data = self._sock.recv(65536)
        if not data:
            raise BerthError('the service has ended; start it with "berth serve --background"')
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event: Frame = msgspec.json.decode(line)
            if "operation" in event:
                yield {"kind": "operation", "operation": event["operation"]}
            else:
                yield {"kind": "event", **event, "container": self._summary(event)}

    def _summary(self, event: Frame) -> object:
        name = event["detail"] if event["event"] == "renamed" else event["name"]
        return summary(self._home, name) if name in all_names(self._home) else None


class _Statistics:
    """Samples of the device and of running containers."""

    def __init__(self, home: Home, containers: tuple[str, ...], seconds: float) -> None:
        self.ended = False
        self._home = home
        self._containers = containers
        self._seconds = seconds
        self._next = 0.0

    def fileno(self) -> int | None:
        return None

    def due(self) -> float | None:
        return max(0.0, self._next - time.monotonic())

    def first(self) -> Iterator[Frame]:
        return self.more()

    def more(self) -> Iterator[Frame]:
        samples = {}
        for name in self._containers or all_names(self._home):
            if look_up(self._home, name).runs:
                try:
                    samples[name] = sample(self._home, name)
                except BerthError:
                    continue  # ended just now
        host = sample_host(self._home)
        self._next = time.monotonic() + self._seconds  # from now on: the first sample takes longer than the others
        yield {"kind": "statistics", "at": host.at, "host": host, "containers": samples}

    def close(self) -> None:
        pass


class _Log:
    """What a container's console says, from where an earlier stream had come to."""

    def __init__(self, home: Home, container: str, cursor: str) -> None:
        self.ended = False
        if look_up(home, container).condition == "stopped":
            load_spec(home, container)
        try:
            self._reader = LogReader(home.container(container), cursor)
        except OSError:
            raise MissingError(f"container {container}: has no log, because it was never saved") from None

    def fileno(self) -> int | None:
        return self._reader.fileno()

    def due(self) -> float | None:
        return None

    def first(self) -> Iterator[Frame]:
        return self.more()

    def more(self) -> Iterator[Frame]:
        data = self._reader.read()
        cursor, missed = self._reader.cursor, self._reader.missed
        for begin in range(0, len(data), _CHUNK):
            told: Frame = {"missed": missed and begin == 0}
            if begin + _CHUNK >= len(data):
                told["cursor"] = cursor
            yield {"kind": "log", "data": to_base64(data[begin : begin + _CHUNK]), **told}
        self._reader.missed = False
        if self._reader.gone:
            self.ended = True
            yield {"kind": "end"}

    def close(self) -> None:
        self._reader.close()


class _Terminal(_FromSocket):
    """A terminal's output.  It is read only when the page takes it, so that a slow page slows its program down."""

    def __init__(self, home: Home, identity: str, position: int) -> None:
        super().__init__(view(home, identity, position))

    def more(self) -> Iterator[Frame]:
        try:
            packet = self._sock.recv(OUTPUT.size + PACKET_BYTES)
        except ConnectionResetError:
            packet = b""
        if not packet:
            raise BerthError("the terminal was closed")
        kind, number, missed = OUTPUT.unpack_from(packet)
        if kind == b"e":
            self.ended = True
            yield {"kind": "end", "code": number}
        else:
            yield {"kind": "output", "data": to_base64(packet[OUTPUT.size :]), "position": number, "missed": missed}


class _Console(_FromSocket):
    """A container's console, begun by the last of what it said."""

    def __init__(self, home: Home, container: str) -> None:
        super().__init__(open_console(home, container))
        self._position = 0

    def more(self) -> Iterator[Frame]:
        try:
            data = receive(self._sock, _CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            yield {"kind": "end"}
            return
        self._position += len(data)
        yield {"kind": "output", "data": to_base64(data), "position": self._position, "missed": 0}
