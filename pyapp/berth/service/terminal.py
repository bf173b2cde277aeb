"""A terminal that is kept for viewers who come and go: a process of its own holds it, with what it showed last.

It survives whoever opened it, the supervisor and the web process.  Its socket carries packets: a request is a line of
JSON with what was typed behind it; a viewer then gets packets of output, each begun by `Output`.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from berth.engine.containers import Alive
from berth.engine.enter import Door, OwnTerminal, Program
from berth.kernel.processes import name_process
from berth.kernel.signals import Wakeup
from berth.kernel.terminals import set_window_size
from berth.service.ring import Ring

OUTPUT = struct.Struct("=cQQ")  # kind ("o" output, "e" end), position behind the data (or exit code), bytes missed
PACKET_BYTES = 32 * 1024
_RING_BYTES = 256 * 1024
_BEHIND_BYTES = 64 * 1024
_TYPED_BYTES = 64 * 1024
_REQUEST_BYTES = 160 * 1024
_WRITERS = 32
_LINGER_SECONDS = 600.0
_GRACE_SECONDS = 2.0


class Terminal(Struct, frozen=True, kw_only=True):
    """A terminal; `ended` is the exit code of its program, None while that runs; `started_at` is a Unix time."""

    id: str
    container: str
    user: str
    argv: tuple[str, ...]
    rows: int
    columns: int
    started_at: float
    ended: int | None = None


class Request(Struct, frozen=True, kw_only=True):
    """What a terminal is asked for."""

    call: Literal["show", "view", "type", "size", "close"]
    position: int = 0
    writer: str = ""
    number: int = 0
    rows: int = 0
    columns: int = 0


class Reply(Struct, frozen=True, kw_only=True):
    """The answer: the terminal as it is, the last `number` taken from this writer, or that no input is taken now."""

    terminal: Terminal
    number: int = 0
    busy: bool = False


class Holder:
    """Holds one terminal: runs its program, keeps its output, serves its viewers."""

    def __init__(self, shown: Terminal, listener: socket.socket) -> None:
        self.shown = shown
        self._listener = listener
        self._ring = Ring(_RING_BYTES)
        self._viewers: dict[int, tuple[socket.socket, int]] = {}
        self._callers: dict[int, socket.socket] = {}
        self._numbers: dict[str, int] = {}
        self._typed = bytearray()
        self._master = -1
        self._pid = 0
        self._closing: float | None = None

    def run(self, container: Alive, environment: dict[str, str], ready: Callable[[], None]) -> None:
        """Start the program in `container`, say that it is `ready`, and stay until nobody can want it any more.

        Raises BerthError when the program can't be started.
        """
        name_process("berth: terminal")
        with Wakeup(signal.SIGCHLD) as news:
            program = Program(argv=self.shown.argv, user=self.shown.user, environment=environment)
            with Door(container) as door:
                self._master, slave = door.open_terminal()
                set_window_size(self._master, self.shown.rows, self.shown.columns)
                self._pid = door.start(program, (slave, slave, slave), OwnTerminal(slave, foreground=True))
            os.close(slave)
            os.set_blocking(self._master, False)
            ready()
            while self._wait(news):
                pass

    def _wait(self, news: Wakeup) -> bool:
        """Do what there is to do; False when it is time to end."""
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(news, select.POLLIN)
        for fd in self._callers:
            poller.register(fd, select.POLLIN)
        for fd, (_, position) in self._viewers.items():
            poller.register(fd, select.POLLIN | (select.POLLOUT if position < self._ring.end else 0))
        if self._master >= 0:
            reading = 0 if self._all_behind() else select.POLLIN
            poller.register(self._master, reading | (select.POLLOUT if self._typed else 0))
        left = None if self._closing is None else max(0.0, self._closing - time.monotonic())
        ready = poller.poll(None if left is None else left * 1000 + 1)
        if self._closing is not None and time.monotonic() >= self._closing and not self._force():
            return False
        for fd, events in ready:
            self._attend_to(fd, events, news)
        return True

    def _attend_to(self, fd: int, events: int, news: Wakeup) -> None:
        if fd == self._listener.fileno():
            self._accept()
        elif fd == news.fileno():
            news.clear()
            self._reap()
        elif fd == self._master:
            if events & select.POLLOUT:
                self._write()
            if events & ~select.POLLOUT:
                self._read()
        elif fd in self._viewers:
            if events & ~select.POLLOUT:
                self._viewers.pop(fd)[0].close()
            else:
                self._show(fd)
        elif fd in self._callers:
            self._answer(self._callers.pop(fd))

    def _all_behind(self) -> bool:
        """Whether there are viewers and each has enough to read: its program then waits, as on a slow line."""
        positions = [position for _, position in self._viewers.values()]
        return bool(positions) and all(self._ring.end - position >= _BEHIND_BYTES for position in positions)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            caller, _ = self._listener.accept()
            caller.setblocking(False)
            self._callers[caller.fileno()] = caller

    def _answer(self, caller: socket.socket) -> None:
        try:
            line, _, data = caller.recv(_REQUEST_BYTES).partition(b"\n")
            request = msgspec.json.decode(line, type=Request)
            if request.call == "view":
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BEHIND_BYTES)
                self._viewers[caller.fileno()] = (caller, min(request.position, self._ring.end))
                self._show(caller.fileno())
                return
            reply = self._do(request, data)
            caller.send(msgspec.json.encode(reply))
        except (OSError, msgspec.MsgspecError):
            pass
        caller.close()

    def _do(self, request: Request, data: bytes) -> Reply:
        if request.call == "type":
            return self._type(request, data)
        if request.call == "size" and self._master >= 0:
            set_window_size(self._master, request.rows, request.columns)
            self.shown = replace(self.shown, rows=request.rows, columns=request.columns)
        elif request.call == "close":
            self._signal(signal.SIGHUP)
            self._closing = time.monotonic() + (_GRACE_SECONDS if self._master >= 0 else 0)
        return Reply(terminal=self.shown)

    def _type(self, request: Request, data: bytes) -> Reply:
        last = self._numbers.get(request.writer, 0)
        if request.number <= last:
            return Reply(terminal=self.shown, number=last)
        if self._master < 0 or len(self._typed) + len(data) > _TYPED_BYTES:
            return Reply(terminal=self.shown, number=last, busy=True)
        self._numbers.pop(request.writer, None)
        self._numbers[request.writer] = request.number
        while len(self._numbers) > _WRITERS:
            del self._numbers[next(iter(self._numbers))]
        self._typed += data
        self._write()
        return Reply(terminal=self.shown, number=request.number)

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while self._typed:
                del self._typed[: os.write(self._master, self._typed)]

    def _read(self) -> bool:
        """Take output and show it; False when there is none."""
        try:
            data = os.read(self._master, PACKET_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return False
        self._ring.add(data)
        for fd in list(self._viewers):
            self._show(fd)
        return True

    def _show(self, fd: int) -> None:
        viewer, position = self._viewers[fd]
        try:
            while position < self._ring.end:
                data, missed = self._ring.read(position, PACKET_BYTES)
                viewer.send(OUTPUT.pack(b"o", position + missed + len(data), missed) + data)
                position += missed + len(data)
            if self.shown.ended is not None and self._master < 0:
                viewer.send(OUTPUT.pack(b"e", self.shown.ended, 0))
                self._viewers.pop(fd)[0].close()
                return
        except BlockingIOError:
            pass
        except OSError:
            self._viewers.pop(fd)[0].close()
            return
        self._viewers[fd] = (viewer, position)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._pid:
                    status = found[1]
                    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                    self._pid = 0
                    self._end(code)

    def _end(self, code: int) -> None:
        """Take the rest of the output, end the terminal for what the program left behind, and stay for late viewers."""
        while self._master >= 0 and self._read():
            pass
        self.shown = replace(self.shown, ended=code)
        self._hang_up()
        if self._closing is None:
            self._closing = time.monotonic() + _LINGER_SECONDS
        else:
            self._closing = time.monotonic()
        for fd in list(self._viewers):
            self._show(fd)

    def _hang_up(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _signal(self, number: int) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)

    def _force(self) -> bool:
        """Kill a program that did not end when it was asked to; False when there is none."""
        if not self._pid:
            return False
        self._signal(signal.SIGKILL)
        self._closing = time.monotonic() + _GRACE_SECONDS
        return True
