"""waitress with the limits that a server needs which any app on the device can reach."""

import socket
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore  # type: ignore[import-untyped]  # it has none
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]  # it has none
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]  # it has none
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]  # it has none
from waitress.task import ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]  # it has none

from berth.errors import BerthError
from berth.web.gate import Gate

_THREADS = 32
_TICK_SECONDS = 30
_IDLE_SECONDS = 120
_REQUEST_SECONDS = 20.0  # for a whole request to arrive, headers and body
_PER_UID = 64
_LIMITS: dict[str, Any] = {
    "asyncore_use_poll": True,
    "channel_request_lookahead": 1,  # or nobody reads, and notices that a stream's client has gone
    "channel_timeout": _IDLE_SECONDS,
    "cleanup_interval": _TICK_SECONDS,
    "connection_limit": 512,
    "ident": "",
    "inbuf_overflow": 4 << 20,  # above what is accepted at all: no temporary files
    "max_request_body_size": 1 << 20,
    "max_request_header_size": 16 << 10,
    "outbuf_high_watermark": 64 << 10,  # a reader that is this far behind makes its writer wait
    "outbuf_overflow": 16 << 20,
    "threads": _THREADS,
    "clear_untrusted_proxy_headers": True,
}


class Task(WSGITask):  # type: ignore[misc]  # waitress has no types
    """A request that knows who made it."""

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment with `berth.uid` and `berth.channel`."""
        environment: dict[str, Any] = super().get_environment()
        environment["berth.uid"] = self.channel.uid
        environment["berth.channel"] = self.channel
        return environment


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection from a process of `uid`."""

    task_class = Task
    uid = -1

    def __init__(self, server: "Server", sock: socket.socket, address: Any, adjustments: Any, **rest: Any) -> None:
        self._waiting_since: float | None = time.monotonic()
        self._gone: list[Callable[[], None]] = []
        super().__init__(server, sock, address, adjustments, **rest)

    def when_gone(self, action: Callable[[], None]) -> None:
        """Have `action` done when the client has gone; at once if it has."""
        self._gone.append(action)
        if not self.connected:
            action()

    def received(self, data: bytes) -> bool:
        """Take what has arrived, and note since when a request is incomplete."""
        taken: bool = super().received(data)
        if self.request is None:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = time.monotonic()
        return taken

    @property
    def is_late(self) -> bool:
        """Whether a request takes too long to arrive."""
        since = self._waiting_since
        return since is not None and not self.requests and time.monotonic() - since > _REQUEST_SECONDS

    def handle_close(self) -> None:
        """Close, and tell what streams to this client."""
        super().handle_close()
        gone, self._gone = self._gone, []
        for action in gone:
            action()


class Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """Listens on `sock`; `gate` decides who may connect."""

    channel_class = Channel

    def __init__(self, application: Any, sock: socket.socket, gate: Gate) -> None:
        adjustments = Adjustments(sockets=[sock], **_LIMITS)
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(_THREADS)
        address = (sock.family, sock.type, sock.proto, sock.getsockname())
        self._gate = gate
        super().__init__(
            application, {}, _sock=sock, dispatcher=dispatcher, adj=adjustments, sockinfo=address, bind_socket=False
        )

    def handle_accept(self) -> None:
        """Take a connection if its uid may have one."""
        try:
            accepted = self.accept()
        except OSError:
            return  # gone again
        if accepted is None:
            return
        conn, address = accepted
        try:
            uid = self._gate.admit(address)
        except (OSError, BerthError):
            uid = None  # waitress would close the listening socket: one caller would be refused for all
        if uid is None or not self._has_room(uid):
            conn.close()
            return
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = self.channel_class(self, conn, address, self.adj, map=self._map)
        channel.uid = uid

    def _has_room(self, uid: int) -> bool:
        """Whether `uid` may have one more connection; the oldest of too many goes, unless all of them are in use."""
        own = [channel for channel in self.active_channels.values() if channel.uid == uid]
        if len(own) < _PER_UID:
            return True
        spare = [channel for channel in own if not channel.requests and not channel.total_outbufs_len]
        if not spare:
            return False
        min(spare, key=lambda channel: channel.creation_time).handle_close()
        return True

    def maintenance(self, now: float) -> None:
        """Close connections that are idle or too slow."""
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            if channel.is_late:
                channel.will_close = True

    def run(self) -> None:
        """Serve for ever; wakes for nothing while there is no connection, and once in 30 seconds otherwise."""
        while self._map:
            wasyncore.poll2(_TICK_SECONDS if self.active_channels else None, self._map)
