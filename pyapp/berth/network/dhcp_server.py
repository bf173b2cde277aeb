"""Answers DHCP on one container's link, or the one that several share, and nowhere else."""

import contextlib
import socket
from collections.abc import Callable
from typing import Final

from berth.network.dhcp import CLIENT_PORT, SERVER_PORT, Offer, Reply, answer, read_message
from berth.network.loop import Loop

_ROOM: Final = 4096


class DhcpServer:
    """Listens on `link` until it is closed.

    `offer_to` tells what holds for the client with that MAC address at the moment of an answer, None for a stranger;
    `send` sends that where it is not simply sent by the link.
    """

    def __init__(
        self,
        loop: Loop,
        link: str,
        offer_to: Callable[[bytes], Offer | None],
        send: Callable[[bytes, Reply], object] | None = None,
    ) -> None:
        """Raises OSError where the port is taken by a server that does not share."""
        self._loop = loop
        self._offer_to = offer_to
        self._send = send or self._send_by_link
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
            if message is None or (offer := self._offer_to(message.hardware)) is None:
                return
            reply = answer(message, offer)
            if reply is not None:
                self._send(message.hardware, reply)

    def _send_by_link(self, _: bytes, reply: Reply) -> None:
        self._socket.sendto(reply.data, (reply.address, CLIENT_PORT))

    def close(self) -> None:
        """Stop listening."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()
