"""What happens to containers, told to whoever listens: monitors send, the supervisor passes on.

A datagram to a socket that may not be there: nobody waits for it, and a container never notices who listens.
"""

import contextlib
import os
import socket
import time

import msgspec
from msgspec import Struct

from berth.home import Home
from berth.kernel.sockets import short_path

NOTIFY_SOCKET = "notify.sock"
EVENTS_SOCKET = "events.sock"


class Event(Struct, frozen=True):
    """Container `name` has come to `event`.

    That is starting, running, rebooted, stopped, stuck, failed, saved, renamed or removed; settings, of no container;
    or progress, of which only the operation hears that is under way for it.

    `at` is a Unix time, `detail` the new name, why, or the step.
    """

    event: str
    name: str
    at: float
    detail: str = ""


def announce(home: Home, name: str, event: str, detail: str = "") -> None:
    """Tell the supervisor, if there is one."""
    data = msgspec.json.encode(Event(event, name, time.time(), detail))
    with (
        contextlib.suppress(OSError),
        short_path(os.path.join(home.run, NOTIFY_SOCKET)) as address,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
    ):
        sock.sendto(data, address)
