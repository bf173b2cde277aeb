"""Which name servers the phone has now, for a process that may not wait.

Android keeps them where it takes a program of its own to ask, up to seconds; a child asks, whenever the network has
changed, and until it has its answer the servers are those known last.
"""

import os
from collections.abc import Callable
from typing import Final

import msgspec

from berth.kernel.processes import end_with, fork
from berth.network.loop import Loop

Read = Callable[[], tuple[str, ...]]

_ROOM: Final = 4096


class Servers:
    """The phone's name servers; `read` finds them out and may take its time."""

    def __init__(self, loop: Loop, read: Read) -> None:
        self._loop = loop
        self._read = read
        self._known: tuple[str, ...] = ()
        self._child: tuple[int, int] | None = None  # its pid, and where its answer is read
        self._again = False

    def now(self) -> tuple[str, ...]:
        """Return those known last; none before the first answer."""
        return self._known

    def look_again(self) -> None:
        """Have them read anew.  Raises OSError."""
        if self._child is not None:
            self._again = True  # what is being read may be the old ones
            return
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = fork()
        if pid == 0:
            end_with(lambda: os.write(writer, msgspec.json.encode(self._read())), lambda _: None)
        os.close(writer)
        self._child = (pid, reader)
        self._loop.watch(reader, self._take)

    def _take(self) -> None:
        assert self._child is not None
        pid, reader = self._child
        data = os.read(reader, _ROOM)
        self._loop.forget(reader)
        os.close(reader)
        os.waitpid(pid, 0)
        self._child = None
        if data:
            self._known = msgspec.json.decode(data, type=tuple[str, ...])
        if self._again:
            self._again = False
            self.look_again()
