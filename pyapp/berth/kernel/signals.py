"""Signals as something to wait for: a descriptor that becomes readable when one arrives."""

import _signal  # type: ignore[import-not-found]  # typeshed does not know what signal is made of
import contextlib
import os
from types import FrameType
from typing import Self


class Wakeup:
    """Catches `numbers` while it is open; `fileno` becomes readable when one of them has arrived.

    Only one can be open in a process at a time.  See signal.set_wakeup_fd.
    """

    def __init__(self, *numbers: int) -> None:
        self.arrived: set[int] = set()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)  # first: one may arrive at once
        # Not by `signal`, whose enums are memory that a process which was just forked has yet to copy.
        self._before = {number: _signal.signal(number, self._note) for number in numbers}

    def _note(self, number: int, _: FrameType | None) -> None:
        self.arrived.add(number)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._reader

    def clear(self) -> None:
        """Make `fileno` unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _signal.set_wakeup_fd(-1)
        for number, action in self._before.items():
            _signal.signal(number, action if action is not None else _signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)
