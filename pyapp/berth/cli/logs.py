"""`berth logs`: what a container's console said, and goes on saying.

To a program the bytes go as they are; on a terminal they are made harmless, see `escapes`.
"""

import contextlib
import os
import select
import sys

import msgspec

from berth import values
from berth.cli.escapes import Neutraliser
from berth.cli.flags import Invocation
from berth.cli.output import write_bytes
from berth.engine.log import LogReader
from berth.errors import BerthError
from berth.home import find_home
from berth.service.session import Session
from berth.store import load_spec

_STDOUT = 1


def logs(invocation: Invocation, session: Session) -> int:
    """`berth logs`."""
    home, name = find_home(os.environ), invocation.names[0]
    text = invocation.text("lines")
    most = None if text is None else values.count("--lines", text)
    follow = invocation.switch("follow")
    if not os.path.isdir(home.container(name)):  # one whose first start failed has a log, and nothing else
        load_spec(home, name)  # says that there is no such container, where that is so
        raise BerthError(f"container {name}: has no log, because it was never saved")
    reader = LogReader(home.container(name))
    write: Writer = _JsonLines() if invocation.json else _Terminal() if os.isatty(_STDOUT) else _Plain()
    with reader:
        kept = reader.read()
        if not kept and not follow:
            raise BerthError(f'container {name}: has no log yet; start it with "berth start {name}"')
        write.add(kept if most is None else _last_lines(kept, most))
        if not follow:
            write.finish()
            return 0
        return _follow(reader, session, write)


def _last_lines(data: bytes, most: int) -> bytes:
    """The last `most` lines of `data`; an unfinished one at its end counts."""
    if most == 0:
        return b""
    place = len(data.removesuffix(b"\n"))
    for _ in range(most):
        place = data.rfind(b"\n", 0, place)
        if place < 0:
            return data
    return data[place + 1 :]


def _follow(reader: LogReader, session: Session, write: "Writer") -> int:
    """Write what comes, until the log or the caller is gone.  Nothing else wakes the process."""
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    poller.register(session.connection, select.POLLIN)
    poller.register(_STDOUT, 0)  # tells when nobody reads the other end of a pipe
    while True:
        for fd, _ in poller.poll():
            if fd == reader.fileno():
                write.add(reader.read())
                if reader.gone:
                    write.finish()
                    return 0
            elif fd == _STDOUT or session.connection.receive()[0] is None:
                with contextlib.suppress(OSError):
                    write.finish()
                return 0


class _Plain:
    """Bytes as they are."""

    def add(self, data: bytes) -> None:
        write_bytes(data)

    def finish(self) -> None:
        pass


class _Terminal:
    """Text that is safe on a terminal."""

    def __init__(self) -> None:
        self._neutral = Neutraliser()

    def add(self, data: bytes) -> None:
        print(self._neutral.feed(data), end="", flush=True)

    def finish(self) -> None:
        print(self._neutral.finish(), end="", flush=True)


class _JsonLines:
    """An object for each line, without the line's end."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._print(line)
        sys.stdout.flush()

    def finish(self) -> None:
        if self._rest:
            self._print(self._rest)

    @staticmethod
    def _print(line: bytes) -> None:
        print(msgspec.json.encode({"line": line.rstrip(b"\r").decode(errors="replace")}).decode())


Writer = _Plain | _Terminal | _JsonLines
