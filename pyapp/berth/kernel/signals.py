"""Signals as something to wait for: a descriptor that becomes readable when one arrives."""

import contextlib
import signal
import socket
from types import FrameType
from typing import Self


class Wakeup:
    """Catches `numbers` while it is open; `fileno` becomes readable when one of them has arrived.

    Only one can be open in a process at a time.  See signal.set_wakeup_fd.
    """

    def __init__(self, *numbers: int) -> None:
        self.arrived: set[int] = set()
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.arrived.add(number)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._reader.fileno()

    def clear(self) -> None:
        """Make `fileno` unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, action in self._before.items():
            signal.signal(number, action if action is not None else signal.SIG_DFL)
        self._reader.close()
        self._writer.close()
