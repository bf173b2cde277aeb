"""Answers DHCP on one container's link and nowhere else."""

import contextlib
import socket
from collections.abc import Callable
from typing import Final

from berth.network.dhcp import CLIENT_PORT, SERVER_PORT, Offer, answer, read_message
from berth.network.loop import Loop

_ROOM: Final = 4096


class DhcpServer:
    """Listens on `link` until it is closed; `offer` tells what holds at the moment of an answer."""

    def __init__(self, loop: Loop, link: str, offer: Callable[[], Offer]) -> None:
        """Raises OSError where the port is taken by a server that does not share."""
        self._loop = loop
        self._offer = offer
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_UDP
        )
        try:
            # The phone's own server for tethering has the same port, on other links.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            self._socket.bind(("", SERVER_PORT))
        except OSError:
            self._socket.close()
            raise
        loop.watch(self._socket.fileno(), self._serve)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # BlockingIOError; a link that has just gone
            message = read_message(self._socket.recv(_ROOM))
            reply = answer(message, self._offer()) if message is not None else None
            if reply is not None:
                self._socket.sendto(reply.data, (reply.address, CLIENT_PORT))

    def close(self) -> None:
        """Stop listening."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()
