"""Whether the ports that a container wants to show are free on the phone."""

import errno
import socket
from collections.abc import Iterable, Iterator
from typing import Final

from berth.errors import BerthError
from berth.network.model import Wish
from berth.spec import Port

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def refuse_taken(wish: Wish, others: Iterable[Wish]) -> None:
    """Raise BerthError where another container, or a program of the phone, has a port that `wish` names."""
    held = {key: other.name for other in others for port in other.ports for key in _numbers(port)}
    for port in wish.ports:
        for key in _numbers(port):
            if key in held:
                raise _taken(wish, key, f"container {held[key]} has it")
            if (why := _refusal(key, port.bind)) is not None:
                raise _taken(wish, key, why)


def _taken(wish: Wish, key: tuple[str, int], why: str) -> BerthError:
    protocol, number = key
    return BerthError(f"container {wish.name}: port {number}/{protocol} can't be shown: {why}; choose another one")


def _numbers(port: Port) -> Iterator[tuple[str, int]]:
    return ((port.protocol, port.host + step) for step in range(port.count))


def _refusal(key: tuple[str, int], bind: str | None) -> str | None:
    """Try to take the port as a program would; return why that is not possible."""
    protocol, number = key
    family = socket.AF_INET6 if bind is not None and ":" in bind else socket.AF_INET
    with socket.socket(family, _KINDS[protocol]) as sock:
        if protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is only closing is no obstacle
        try:
            sock.bind((bind or "0.0.0.0", number))
            if protocol == "tcp":
                sock.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "a program of this device has it"
            if error.errno == errno.EADDRNOTAVAIL:
                return f"this device has no address {bind}"
            raise
    return None
