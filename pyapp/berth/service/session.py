"""A caller as its worker sees it: its streams, its folder, and the programs that run for it."""

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

from berth.engine.containers import Alive
from berth.engine.enter import Door, OwnTerminal, Program
from berth.engine.one_off import OneOff
from berth.errors import BerthError
from berth.kernel.namespaces import same_mount_namespace
from berth.kernel.signals import Wakeup
from berth.kernel.terminals import copy_mode, set_window_size, window_size
from berth.service.protocol import Connection
from berth.service.running import Running, RunningFirst, RunningInTerminal

_GRACE_SECONDS = 5.0


class Session:
    """One request's caller.  Its standard streams are the worker's own 0, 1, 2.

    `foreground` tells whether it runs in the foreground of a terminal that is both its input and its output.
    """

    def __init__(
        self, connection: Connection, cwd: str, environment: dict[str, str], pid: int, *, foreground: bool = True
    ) -> None:
        self.connection = connection
        self.cwd = cwd
        self.environment = environment
        self.pid = pid
        self.foreground = foreground

    def path(self, path: str) -> str:
        """Return `path` as an absolute one, resolved against the caller's folder.

        Raises BerthError where the caller, in a mount namespace of its own, sees another file there.
        """
        whole = os.path.normpath(os.path.join(self.cwd, path))
        if self.pid and not same_mount_namespace(self.pid) and not _same_file(f"/proc/{self.pid}/root{whole}", whole):
            raise BerthError(f"{whole}: your shell sees another file there than the system does; use a path outside")
        return whole

    @property
    def has_terminal(self) -> bool:
        """Whether any of the caller's streams is a terminal."""
        return any(os.isatty(number) for number in range(3))

    def run_inside(self, container: Alive, program: Program) -> int:
        """Run `program` in `container` on the caller's streams and return its exit code (128+n for a signal)."""
        if not self.has_terminal:
            self._tell({"program": True})  # before it starts: no signal for it may end the caller instead
            with Door(container) as door:
                pid = door.start(program, (0, 1, 2), None)
            self._let_go_of_streams()
            return self.accompany(Running(pid))
        with Door(container) as door:
            master, slave = door.open_terminal()
            self._make_like_callers(master)
            zero, one, two = (slave if os.isatty(number) else number for number in range(3))
            pid = door.start(program, (zero, one, two), OwnTerminal(slave, foreground=self.foreground))
        running = RunningInTerminal(pid, slave)
        self.lend_terminal(master, foreground=self.foreground)
        self._let_go_of_streams()
        return self.accompany(running)

    def run_one_off(self, one_off: OneOff) -> int:
        """Run a one-off container on the caller's streams and return its program's exit code."""
        if not self.has_terminal:
            self._tell({"program": True})
        process = one_off.start(self._make_like_callers)
        try:
            if one_off.master is not None and one_off.slave is not None:
                self.lend_terminal(one_off.master, first=process.pid, foreground=os.isatty(0))
                os.close(one_off.slave)
            self._let_go_of_streams()
            return self.accompany(RunningFirst(process.pid))
        finally:
            process.send(signal.SIGKILL)
            one_off.finish()

    @staticmethod
    def _make_like_callers(master: int) -> None:
        """Give the terminal behind `master` the size and the mode of the caller's."""
        for number in range(3):
            if os.isatty(number):
                set_window_size(master, *window_size(number))
                copy_mode(number, master)
                return

    @staticmethod
    def _let_go_of_streams() -> None:
        """Close input and output, which the program has now: only it decides when a pipe is at its end."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1):
            os.dup2(null, number)
        os.close(null)

    def lend_terminal(self, *descriptors: int, **words: Any) -> None:
        """Give the caller a terminal to copy bytes for, and keep none of it."""
        self._tell({"terminal": True, **words}, descriptors)
        for fd in descriptors:
            os.close(fd)

    def wait_for_caller(self, other: socket.socket) -> None:
        """Wait until the caller has gone, or the other side of what it looks at."""
        poller = select.poll()
        poller.register(self.connection, select.POLLIN | select.POLLHUP)
        poller.register(other, select.POLLRDHUP)
        while not any(fd == other.fileno() for fd, _ in poller.poll()):
            if self.connection.receive()[0] is None:
                return

    def lines_from(self, other: socket.socket) -> Iterator[bytes]:
        """Yield the lines that arrive on `other`, until that ends or the caller has gone."""
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        poller.register(other, select.POLLIN)
        buffer = b""
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self.connection.fileno() in ready and self.connection.receive()[0] is None:
                return
            if other.fileno() in ready:
                data = other.recv(65536)
                if not data:
                    return
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                yield from lines

    def read_line(self) -> str:
        """Return the next line of the caller's input, without the blanks around it; "" at its end.

        Raises BrokenPipeError when the caller has gone: nobody may go on reading what is typed for a shell.
        """
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        poller.register(0, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if self.connection.fileno() in dict(poller.poll()):
                raise BrokenPipeError(errno.EPIPE, "the caller has gone")
            byte = os.read(0, 1)
            if not byte:
                break
            line += byte
        return line.decode(errors="surrogateescape").strip()

    def accompany(self, running: Running) -> int:
        """Wait for the program, passing the caller's signals on; return its exit code.

        A caller that vanishes is a hang-up: SIGHUP, and SIGKILL after a while.
        """
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        deadline: float | None = None
        with Wakeup(signal.SIGCHLD) as news:
            poller.register(news, select.POLLIN)
            while (code := self._collect(running)) is None:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                events = dict(poller.poll(None if left is None else left * 1000))
                news.clear()
                if left == 0.0:
                    running.send(signal.SIGKILL)
                    deadline = None
                if self.connection.fileno() in events and not self._pass_on(running):
                    poller.unregister(self.connection)
                    running.send(signal.SIGHUP)
                    running.send(signal.SIGCONT)
                    deadline = time.monotonic() + _GRACE_SECONDS
        return code

    def _collect(self, running: Running) -> int | None:
        while True:
            found, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if found == 0:
                return None
            if found != running.pid:
                continue  # an orphan of the program, adopted by the subreaper
            if not os.WIFSTOPPED(status):
                return running.exit_code(status)
            self._tell({"stopped": os.WSTOPSIG(status)})

    def _pass_on(self, running: Running) -> bool:
        """Do what the caller asks for; False when it has gone."""
        while True:
            try:
                message, _ = self.connection.receive()
            except ValueError:
                return False
            if message is None:
                return False
            if "foreground" in message:
                running.show_in_foreground(bool(message["foreground"]))
            if isinstance(message.get("signal"), int):
                running.send(message["signal"])
            if isinstance(message.get("typed"), int):
                running.send_typed(message["typed"])
            if not self.connection.pending:
                return True

    def _tell(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Tell the caller; that it has gone meanwhile, the next look at the connection shows."""
        with contextlib.suppress(OSError):
            self.connection.send(message, descriptors)


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except FileNotFoundError:
        return not os.path.exists(one) and not os.path.exists(other)
