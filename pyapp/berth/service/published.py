"""Where the dashboard listens: a port that the supervisor holds, told in a file that only root can read.

The web process may die and come back; nobody else gets its port meanwhile.
"""

import os
import socket

import msgspec
from msgspec import Struct

from berth.home import Home
from berth.kernel.processes import start_time

_FIRST_PORT = 7575
_LAST_PORT = 7675


class Listening(Struct, frozen=True):
    """Its port, and the process by pid and start time (clock ticks)."""

    port: int
    pid: int
    started: int
    url: str


def bind(home: Home) -> socket.socket:
    """Return a socket that listens on 127.0.0.1, port 7575 or the next one that is free; raises OSError.

    The last port is tried first: the pages that were served there know no other.
    """
    earlier = last(home)
    ports = list(dict.fromkeys((*([earlier.port] if earlier else ()), *range(_FIRST_PORT, _LAST_PORT + 1))))
    for port in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(256)
        except OSError:
            sock.close()
            if port == ports[-1]:
                raise
            continue
        return sock
    raise AssertionError("unreachable")


def write(home: Home, port: int) -> None:
    """Publish `port` as the calling process's; raises OSError."""
    told = Listening(port, os.getpid(), start_time(os.getpid()) or 0, f"http://127.0.0.1:{port}/")
    path = _path(home)
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(msgspec.json.encode(told))
    os.rename(f"{path}.new", path)


def read(home: Home) -> Listening | None:
    """Return where the web process of `home` listens; None while none does."""
    told = last(home)
    return told if told and start_time(told.pid) == told.started else None


def last(home: Home) -> Listening | None:
    """Return where the last web process of `home` listened, which may have died since; None where none is known."""
    try:
        with open(_path(home), "rb") as file:
            return msgspec.json.decode(file.read(), type=Listening)
    except (OSError, msgspec.MsgspecError):
        return None


def _path(home: Home) -> str:
    return f"{home.run}/web.json"
