"""Opening terminals in containers, and talking to those that are open.  See `terminal`."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.channel import Channel
from berth.engine.containers import look_up_alive
from berth.engine.surroundings import leave_surroundings
from berth.errors import BerthError, MissingError
from berth.home import Home
from berth.kernel.call import explain
from berth.kernel.processes import end_with, setsid
from berth.kernel.sockets import connect, listen
from berth.service.terminal import Holder, Reply, Request, Terminal

_MOST = 64
_SUFFIX = ".sock"
_REPLY_BYTES = 256 * 1024
_SECONDS = 10.0


def open_terminal(home: Home, wanted: Terminal) -> Terminal:
    """Run a program in a terminal of its own, as `wanted` says but for id and time; return the terminal.

    Forks, so the caller must have one thread only.  Raises BerthError when the container does not run, the user is
    unknown, or there is no such program.
    """
    container = look_up_alive(home, wanted.container)
    if len(list(_ids(home))) >= _MOST:
        raise BerthError(f"there are {_MOST} terminals already; close one first")
    os.makedirs(_folder(home), mode=0o700, exist_ok=True)
    shown = msgspec.structs.replace(wanted, id=os.urandom(8).hex(), started_at=time.time())
    path = _path(home, shown.id)
    listener = listen(path, socket.SOCK_SEQPACKET)
    ours, theirs = Channel.pair()
    if os.fork() == 0:

        def hold() -> None:
            leave_surroundings((listener.fileno(), theirs.fileno()), read_cgroup_mounts())
            setsid()

            def ready() -> None:
                theirs.send({"ready": True})
                theirs.close()

            try:
                Holder(shown, listener).run(container, {"TERM": "xterm-256color"}, ready)
            finally:
                os.unlink(path)

        end_with(hold, lambda error: theirs.send({"error": _sentence(error, shown)}))
    theirs.close()
    listener.close()
    message, _ = ours.receive()
    ours.close()
    if message is None:
        raise BerthError(f"container {wanted.container}: what holds its new terminal was killed; open it again")
    if "error" in message:
        raise BerthError(message["error"])
    return shown


def _sentence(error: BaseException, shown: Terminal) -> str:
    if isinstance(error, BerthError):
        return str(error)
    why = explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return f"container {shown.container}: no terminal can be had: {why}"


def all_terminals(home: Home) -> list[Terminal]:
    """Return the terminals, oldest first."""
    shown = []
    for identity in _ids(home):
        try:
            shown.append(ask_terminal(home, identity, Request(call="show")).terminal)
        except MissingError:
            continue
    return sorted(shown, key=lambda terminal: terminal.started_at)


def ask_terminal(home: Home, identity: str, request: Request, typed: bytes = b"") -> Reply:
    """Ask a terminal; raises MissingError where there is none, or none any more."""
    try:
        with _connected(home, identity) as sock:
            sock.send(msgspec.json.encode(request) + b"\n" + typed)
            return msgspec.json.decode(sock.recv(_REPLY_BYTES), type=Reply)
    except (OSError, msgspec.MsgspecError):
        raise _missing() from None


def view(home: Home, identity: str, position: int) -> socket.socket:
    """Return a socket that gives the terminal's output from `position` on, in packets (see `terminal.OUTPUT`)."""
    try:
        sock = connect(_path(home, identity), socket.SOCK_SEQPACKET)
        sock.send(msgspec.json.encode(Request(call="view", position=position)) + b"\n")
    except OSError:
        raise _missing() from None
    return sock


@contextmanager
def _connected(home: Home, identity: str) -> Iterator[socket.socket]:
    with connect(_path(home, identity), socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_SECONDS)
        yield sock


def _missing() -> MissingError:
    return MissingError("there is no such terminal any more; open a new one")


def _ids(home: Home) -> Iterator[str]:
    """The ids of terminals; a socket that a killed process left is removed."""
    try:
        names = os.listdir(_folder(home))
    except FileNotFoundError:
        return
    for name in sorted(names):
        path = f"{_folder(home)}/{name}"
        try:
            connect(path, socket.SOCK_SEQPACKET).close()
        except ConnectionRefusedError:
            os.unlink(path)
            continue
        except OSError:
            continue
        yield name.removesuffix(_SUFFIX)


def _folder(home: Home) -> str:
    return f"{home.run}/terminals"


def _path(home: Home, identity: str) -> str:
    if not identity.isalnum():
        raise _missing()
    return f"{_folder(home)}/{identity}{_SUFFIX}"
