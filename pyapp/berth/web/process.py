"""The web process: binds, publishes where it listens, serves.

It holds nothing that matters: whoever kills it loses no container, no operation and no terminal.
"""

import gc
import os
import signal

import berth
from berth.home import Home
from berth.web import published
from berth.web.application import Dashboard
from berth.web.files import Files
from berth.web.gate import Gate
from berth.web.server import Server, bind
from berth.web.streams import forget_dead_streams


def serve(home: Home) -> None:
    """Serve the dashboard of `home` for ever; raises OSError when no port is free."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    last = published.last(home)
    sock = bind(last.port if last else None)
    port = sock.getsockname()[1]
    gate = Gate(home, port)
    dashboard = Dashboard(home, gate, Files(_webroot()))
    server = Server(dashboard.wsgi(), sock, gate)
    gc.collect()
    gc.freeze()
    forget_dead_streams(home)
    published.write(home, port)
    server.run()


def _webroot() -> str:
    """The folder beside the one that holds this program."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(berth.__file__)))), "webroot")
