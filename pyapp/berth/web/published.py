"""Where the web process listens, told in a file that only root can read."""

import os

import msgspec
from msgspec import Struct

from berth.home import Home
from berth.kernel.processes import start_time


class Listening(Struct, frozen=True):
    """Its port, and the process by pid and start time (clock ticks)."""

    port: int
    pid: int
    started: int
    url: str


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
