"""The name server of containers, at the phone's address on their links.

It answers for NAME.berth itself and passes the rest on to whatever servers the phone has at that moment.  A container
that floods it loses its own oldest questions, and nobody else's.
"""

import contextlib
import select
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from berth.kernel.sockets import accept
from berth.network.loop import Loop
from berth.network.names import Hosts, failure, own_answer, read_question

PORT: Final = 53
_IP_FREEBIND: Final = 15
_ROOM: Final = 65535
_MOST_PENDING: Final = 64  # of one container
_ANSWER_SECONDS: Final = 5.0

HostsOf = Callable[[str], Hosts | None]
"""Whose names a container at this address may know; None for one that is nobody's."""

ServersOf = Callable[[str], tuple[str, ...]]
"""Which servers are asked for a container at this address at the moment of a question."""


class Resolver:
    """Listens at `address`, UDP and TCP."""

    def __init__(self, loop: Loop, address: str, hosts_of: HostsOf, servers_of: ServersOf) -> None:
        """Raises OSError where another program answers for names at every address of the phone."""
        self._loop = loop
        self._hosts_of = hosts_of
        self._servers_of = servers_of
        self._pending: dict[str, OrderedDict[socket.socket, None]] = {}
        self._udp = _bound(address, socket.SOCK_DGRAM)
        try:
            self._tcp = _bound(address, socket.SOCK_STREAM)
        except OSError:
            self._udp.close()
            raise
        loop.watch(self._udp.fileno(), self._hear)
        loop.watch(self._tcp.fileno(), self._accept)

    def _hear(self) -> None:
        try:
            data, caller = self._udp.recvfrom(_ROOM)
        except OSError:
            return
        hosts, question = self._hosts_of(caller[0]), read_question(data)
        if hosts is None or question is None:
            return
        if (answer := own_answer(data, question, hosts)) is not None:
            self._send(answer, caller)
        elif not self._ask(data, caller):
            self._send(failure(data, question), caller)

    def _send(self, data: bytes, caller: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # a full buffer: the container asks again
            self._udp.sendto(data, caller)

    def _ask(self, data: bytes, caller: tuple[str, int]) -> bool:
        """Ask all servers at once; the first that answers is heard.  False when none can be asked."""
        asked = False
        for server in self._servers_of(caller[0]):
            try:
                sock = _asking(server, data)
            except OSError:
                continue
            asked = True
            self._keep(sock, caller[0], partial(self._pass_back, sock, data[:2], caller))
        return asked

    def _keep(self, sock: socket.socket, caller: str, action: Callable[[], None], events: int = select.POLLIN) -> None:
        pending = self._pending.setdefault(caller, OrderedDict())
        pending[sock] = None
        self._loop.watch(sock.fileno(), action, events)
        self._loop.put_off(_timer(sock), _ANSWER_SECONDS, lambda: self._drop(sock, caller))
        if len(pending) > _MOST_PENDING:
            self._drop(next(iter(pending)), caller)

    def _pass_back(self, sock: socket.socket, number: bytes, caller: tuple[str, int]) -> None:
        """Pass on the answer to question `number`; what only pretends to be one doesn't end the waiting for it."""
        with contextlib.suppress(OSError):
            answer = sock.recv(_ROOM)
            if answer[:2] != number:
                return
            self._send(answer, caller)
        self._drop(sock, caller[0])

    def _drop(self, sock: socket.socket, caller: str) -> None:
        pending = self._pending.get(caller, OrderedDict())
        if sock in pending:
            del pending[sock]
            if not pending:
                del self._pending[caller]
            self._loop.cancel(_timer(sock))
            self._loop.forget(sock.fileno())
            sock.close()

    # Over TCP one question after the other: it is asked for answers that are too long, and by few.

    def _accept(self) -> None:
        try:
            caller = accept(self._tcp)
            address = caller.getpeername()[0] if caller else ""
        except OSError:
            return  # gone again
        if caller is None:
            return
        if self._hosts_of(address) is None:
            caller.close()
            return
        caller.setblocking(False)
        self._keep(caller, address, lambda: self._hear_tcp(caller, address))

    def _hear_tcp(self, caller: socket.socket, address: str) -> None:
        """Take a whole question (one packet holds it); pass it on, and the answer back by the same connection."""
        try:
            data = caller.recv(_ROOM)
        except OSError:
            data = b""
        hosts, question = self._hosts_of(address), read_question(data[2:])
        if hosts is None or question is None or len(data) - 2 != struct.unpack("!H", data[:2])[0]:
            self._drop(caller, address)
            return
        if (answer := own_answer(data[2:], question, hosts)) is not None:
            self._answer_tcp(caller, address, answer)
        elif not self._ask_tcp(data, caller, address):
            self._answer_tcp(caller, address, failure(data[2:], question))

    def _ask_tcp(self, data: bytes, caller: socket.socket, address: str) -> bool:
        for server in self._servers_of(address)[:1]:
            with contextlib.suppress(OSError):
                sock = _towards(server, socket.SOCK_STREAM)
                sock.connect_ex((server, PORT))
                self._keep(sock, address, partial(self._send_tcp, sock, data, caller, address), select.POLLOUT)
                return True
        return False

    def _send_tcp(self, sock: socket.socket, data: bytes, caller: socket.socket, address: str) -> None:
        try:
            sock.send(data)
        except OSError:
            self._drop(sock, address)
            return
        self._loop.watch(sock.fileno(), partial(self._collect_tcp, sock, bytearray(), caller, address))

    def _collect_tcp(self, sock: socket.socket, received: bytearray, caller: socket.socket, address: str) -> None:
        with contextlib.suppress(OSError):
            received.extend(part := sock.recv(_ROOM))
            if part and len(received) < 2 + int.from_bytes(received[:2], "big"):
                return
            self._answer_tcp(caller, address, bytes(received[2:]))
        self._drop(sock, address)

    def _answer_tcp(self, caller: socket.socket, address: str, answer: bytes) -> None:
        if caller.fileno() >= 0:
            with contextlib.suppress(OSError):
                caller.send(len(answer).to_bytes(2, "big") + answer)
            self._drop(caller, address)

    def close(self) -> None:
        """Stop answering."""
        for caller, pending in list(self._pending.items()):
            for sock in list(pending):
                self._drop(sock, caller)
        for sock in (self._udp, self._tcp):
            self._loop.forget(sock.fileno())
            sock.close()


def resolv_conf_servers(path: str = "/etc/resolv.conf") -> tuple[str, ...]:
    """Return the servers that the file at `path` names; none where there is no such file (Android has none)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return servers_in(file.read())
    except OSError:
        return ()


def servers_in(text: str) -> tuple[str, ...]:
    """Return the servers that `text`, a resolv.conf(5), names."""
    words = [line.split() for line in text.splitlines()]
    return tuple(word[1] for word in words if len(word) > 1 and word[0] == "nameserver")


def _bound(address: str, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # before the first container has its link
        sock.bind((address, PORT))
        if kind == socket.SOCK_STREAM:
            sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


def _asking(server: str, data: bytes) -> socket.socket:
    """Return the socket over which `server` has been sent the question `data`; raises OSError."""
    sock = _towards(server, socket.SOCK_DGRAM)
    try:
        sock.connect((server, PORT))
        sock.send(data)
    except OSError:
        sock.close()
        raise
    return sock


def _timer(sock: socket.socket) -> str:
    return f"question {sock.fileno()}"


def _towards(server: str, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
