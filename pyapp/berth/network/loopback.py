"""Shows a container's ports on 127.0.0.1 and ::1 by copying bytes.

The kernel could do it for IPv4 by `route_localnet`, which would let every container reach what the phone has on
localhost.  Connections from the phone itself are few, so copying costs little.
"""

import contextlib
import errno
import select
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from berth.kernel.sockets import accept
from berth.network.firewall import ANYWHERE, LOOPBACKS
from berth.network.loop import Loop
from berth.spec import Port

_ROOM: Final = 1 << 16
_MOST_CONNECTIONS: Final = 512
_MOST_FLOWS: Final = 256
_BACKLOG: Final = 64

_Address = tuple[str, int] | tuple[str, int, int, int]


class LoopbackPorts:
    """Listens for one container at `address` until it is closed; what is in use already is complained of and left."""

    def __init__(self, loop: Loop, address: str, complain: Callable[[str], None]) -> None:
        self._loop = loop
        self._address = address
        self._complain = complain
        self._parts: dict[Port, list[_TcpPort | _UdpPort]] = {}

    def show(self, ports: tuple[Port, ...]) -> None:
        """Listen for `ports` and no others; what goes on by those that stay is left alone."""
        for port in self._parts.keys() - set(ports):
            for part in self._parts.pop(port):
                part.close()
        for port in ports:
            if port not in self._parts:
                self._parts[port] = list(self._listen(port))

    def _listen(self, port: Port) -> "Iterator[_TcpPort | _UdpPort]":
        kind = _TcpPort if port.protocol == "tcp" else _UdpPort
        for place in _places(port):
            for step in range(port.count):
                try:
                    yield kind(self._loop, place, port.host + step, (self._address, port.container + step))
                except OSError as error:
                    if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # without IPv6 there is no ::1
                        self._complain(f"port {port.host + step}/{port.protocol} at {place}: {error.strerror}")

    def close(self) -> None:
        """Stop listening and end what is connected."""
        self.show(())


def _places(port: Port) -> Iterator[str]:
    for loopback, anywhere in zip(LOOPBACKS, ANYWHERE, strict=True):
        if port.bind in (None, loopback, anywhere):
            yield loopback


def _listening(place: str, number: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in place else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((place, number))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class _TcpPort:
    def __init__(self, loop: Loop, place: str, number: int, target: tuple[str, int]) -> None:
        self._loop = loop
        self._target = target
        self._pairs: set[_Pair] = set()
        self._listener = _listening(place, number, socket.SOCK_STREAM)
        loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            caller = accept(self._listener)
        except OSError:
            return
        if caller is None:
            return
        if len(self._pairs) >= _MOST_CONNECTIONS:
            caller.close()
            return
        caller.setblocking(False)
        try:
            inner = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError:  # no descriptor is left for the other half
            caller.close()
            return
        inner.connect_ex(self._target)  # EINPROGRESS; that it fails is seen when it is written to
        self._pairs.add(_Pair(self._loop, caller, inner, self._pairs.discard))

    def close(self) -> None:
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        for pair in list(self._pairs):
            pair.close()


class _Pair:
    """Two connected sockets whose bytes go to each other; a half that ends ends the other half only."""

    def __init__(self, loop: Loop, one: socket.socket, other: socket.socket, ended: "Callable[[_Pair], None]") -> None:
        self._loop = loop
        self._ended = ended
        self._peers = {one: other, other: one}
        self._waiting = {one: b"", other: b""}  # what is to be written to each
        self._open = {one: True, other: True}  # whether there is more to be read from each
        self._connected = False
        loop.watch(other.fileno(), lambda: self._serve(other), select.POLLOUT)
        loop.watch(one.fileno(), lambda: self._serve(one), 0)

    def _serve(self, sock: socket.socket) -> None:
        self._connected = True
        peer = self._peers[sock]
        try:
            self._write(sock)
            if self._open[sock] and not self._waiting[peer]:
                self._read(sock, peer)
        except OSError:
            self.close()
            return
        if not any(self._open.values()) and not any(self._waiting.values()):
            self.close()
            return
        for each in self._peers:
            self._watch(each)

    def _write(self, sock: socket.socket) -> None:
        if self._waiting[sock]:
            with contextlib.suppress(BlockingIOError):
                sent = sock.send(self._waiting[sock])
                self._waiting[sock] = self._waiting[sock][sent:]
            if not self._waiting[sock] and not self._open[self._peers[sock]]:
                sock.shutdown(socket.SHUT_WR)

    def _read(self, sock: socket.socket, peer: socket.socket) -> None:
        try:
            data = sock.recv(_ROOM)
        except BlockingIOError:
            return
        if data:
            self._waiting[peer] = data
            self._write(peer)
            return
        self._open[sock] = False
        peer.shutdown(socket.SHUT_WR)

    def _watch(self, sock: socket.socket) -> None:
        """Wait for room where something is to be written, for bytes only where they can be passed on."""
        readable = self._open[sock] and not self._waiting[self._peers[sock]]
        events = (select.POLLIN if readable else 0) | (select.POLLOUT if self._waiting[sock] else 0)
        if events:
            self._loop.watch(sock.fileno(), lambda: self._serve(sock), events)
        else:
            self._loop.forget(sock.fileno())

    def close(self) -> None:
        self._ended(self)
        for sock in self._peers:
            if sock.fileno() >= 0:
                self._loop.forget(sock.fileno())
                sock.close()


class _UdpPort:
    """Each caller gets a socket of its own towards the container; the one that was quiet longest makes room."""

    def __init__(self, loop: Loop, place: str, number: int, target: tuple[str, int]) -> None:
        self._loop = loop
        self._target = target
        self._flows: OrderedDict[_Address, socket.socket] = OrderedDict()
        self._sock = _listening(place, number, socket.SOCK_DGRAM)
        loop.watch(self._sock.fileno(), self._pass_in)

    def _pass_in(self) -> None:
        with contextlib.suppress(OSError):
            data, caller = self._sock.recvfrom(_ROOM)
            inner = self._flows.get(caller) or self._open(caller)
            self._flows.move_to_end(caller)
            inner.send(data)

    def _open(self, caller: _Address) -> socket.socket:
        if len(self._flows) >= _MOST_FLOWS:
            _, oldest = self._flows.popitem(last=False)
            self._drop(oldest)
        inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        inner.connect(self._target)
        self._flows[caller] = inner
        self._loop.watch(inner.fileno(), lambda: self._pass_out(inner, caller))
        return inner

    def _pass_out(self, inner: socket.socket, caller: _Address) -> None:
        with contextlib.suppress(OSError):
            self._sock.sendto(inner.recv(_ROOM), caller)

    def _drop(self, inner: socket.socket) -> None:
        self._loop.forget(inner.fileno())
        inner.close()

    def close(self) -> None:
        self._drop(self._sock)
        for inner in self._flows.values():
            self._drop(inner)
        self._flows.clear()
