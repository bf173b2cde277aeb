"""The web process: publishes where it listens, and serves there.

It holds nothing that matters: whoever kills it loses no container, no operation and no terminal.
"""

import contextlib
import gc
import os
import signal
import socket

import berth
from berth.errors import BerthError
from berth.home import Home
from berth.service import published
from berth.web.access import Access
from berth.web.application import Dashboard
from berth.web.files import Files
from berth.web.gate import Gate
from berth.web.history import Recorder
from berth.web.server import Server
from berth.web.streams import forget_dead_streams


def serve(home: Home, sock: socket.socket) -> None:
    """Serve the dashboard of `home` for ever on the listening `sock`; raises OSError, BerthError."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    port = sock.getsockname()[1]
    gate = Gate(home, port)
    dashboard = Dashboard(home, gate, Files(_webroot()))
    Recorder(home)
    server = Server(dashboard.wsgi(), sock, gate)
    gc.collect()
    gc.freeze()
    forget_dead_streams(home)
    with contextlib.suppress(BerthError):  # a full disk: the gate takes none of them, and the next start forgets them
        Access(home).forget_pages_elsewhere(port)
    published.write(home, port)
    server.run()


def _webroot() -> str:
    """The folder beside the one that holds this program."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(berth.__file__)))), "webroot")
