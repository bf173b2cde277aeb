"""The monitor's ear: its socket, those who look at the console, those who wait for the container's end.

Everything is waited for in one poll; without news the process sleeps.
"""

import contextlib
import json
import os
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from berth.engine.console import Console
from berth.kernel.sockets import accept

_Answer = TypeVar("_Answer")


class Switchboard:
    """Serves at a container's socket, where nobody is hung up on before the end of the process: all is undone then.

    `stopping` becomes true when somebody asked for the container's end, so that a reboot is none any more.  `console`
    is set while there is one.  `take_listener` gets what hears the filter of a program that has entered.
    """

    def __init__(self, listener: socket.socket) -> None:
        """Answer those who call at `listener`, once `serve` is called."""
        self.stopping = False
        self.console: Console | None = None
        self.take_listener: Callable[[int], None] = os.close
        self._watched: dict[int, Callable[[], None]] = {}
        self._waiters: list[socket.socket] = []
        self._viewers: dict[int, socket.socket] = {}
        self._poller = select.poll()
        self._listener = listener
        self._poller.register(self._listener, select.POLLIN)

    def serve(self, ended: Callable[[], _Answer | None], *news: int, seconds: float | None = None) -> _Answer:
        """Serve until `ended` answers; it is asked at first, when one of `news` is readable, and every `seconds`."""
        timeout = None if seconds is None else seconds * 1000
        watched = [*news, *([self.console.fileno()] if self.console else [])]
        for fd in watched:
            self._poller.register(fd, select.POLLIN)
        answer = ended()
        while answer is None:
            ready = [fd for fd, _ in self._poller.poll(timeout)]
            for fd in ready:
                self._attend_to(fd)
            if not ready or any(fd in news for fd in ready):
                answer = ended()
        for fd in watched:
            self._poller.unregister(fd)
        return answer

    def watch(self, fd: int, attend: Callable[[], None]) -> None:
        """Call `attend` whenever `fd` is readable or at its end, until it is forgotten."""
        self._watched[fd] = attend
        self._poller.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer."""
        del self._watched[fd]
        self._poller.unregister(fd)

    def _attend_to(self, fd: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._watched:
            self._watched[fd]()
        elif self.console is not None and fd == self.console.fileno():
            self.console.drain()
        elif fd in self._viewers and self.console is not None:
            viewer = self._viewers[fd]
            self.console.flush(viewer)
            if not self.console.type(viewer):
                self._poller.unregister(fd)
                self.console.detach(self._viewers.pop(fd))
        if self.console is not None:
            for number, viewer in self._viewers.items():
                behind = select.POLLOUT if self.console.is_behind(viewer) else 0
                self._poller.modify(number, select.POLLIN | behind)

    def _accept(self) -> None:
        """Take one caller, who may be slow to say what it wants: nobody waits for that."""
        caller = accept(self._listener)
        if caller is not None:
            self.watch(caller.fileno(), partial(self._hear, caller))

    def _hear(self, caller: socket.socket) -> None:
        """Do what `caller` says: "attach" looks at the console, "wait" and "stop" hold on until the end.

        "guard" brings a descriptor to be listened at.
        """
        self.forget(caller.fileno())
        descriptors: list[int] = []
        try:
            words, descriptors, _, _ = socket.recv_fds(caller, 4096, 1)
            call = json.loads(words)["call"]
            if call == "attach" and self.console is not None:
                socket.send_fds(caller, [b"{}\n"], [self.console.master])
                self.console.attach(caller)
                self._viewers[caller.fileno()] = caller
                self._poller.register(caller, select.POLLIN)
            elif call in ("stop", "wait"):
                self.stopping = self.stopping or call == "stop"
                caller.send(b"{}\n")
                self._waiters.append(caller)
            else:
                if call == "guard" and descriptors:
                    self.take_listener(descriptors.pop())
                caller.close()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            caller.close()
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):  # what lies behind it may have failed to write; it is closed
                    os.close(descriptor)

    def waiting(self) -> tuple[int, ...]:
        """Return the descriptors of those who wait or look on."""
        return tuple(caller.fileno() for caller in (*self._waiters, *self._viewers.values()))

    def dismiss(self) -> None:
        """Let go of those who wait or look on, which tells them that all is undone; so does the end of the process."""
        for caller in (*self._waiters, *self._viewers.values()):
            caller.close()
