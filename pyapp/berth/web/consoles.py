"""A container's console, as its monitor gives it to whoever attaches."""

import os
import socket

from berth.engine.containers import look_up
from berth.engine.journal import RunFolder
from berth.engine.stop import call_monitor
from berth.errors import BerthError
from berth.home import Home


def open_console(home: Home, name: str) -> socket.socket:
    """Return a connection that carries what container `name` says, and what is typed; raises BerthError for none."""
    found = look_up(home, name)
    if not found.runs:
        raise BerthError(f"container {name}: is {found.condition}; it has no console now")
    conn = call_monitor(RunFolder(home, name), "attach")
    if conn is None:
        raise BerthError(f'container {name}: runs without its monitor, so without a console; run "berth recover"')
    receive(conn, 3)
    return conn


def receive(conn: socket.socket, size: int) -> bytes:
    """Return the next bytes of a console; the terminal that a monitor sends beside them is of no use here."""
    data, descriptors, _, _ = socket.recv_fds(conn, size, 1)
    for fd in descriptors:
        os.close(fd)
    return data
