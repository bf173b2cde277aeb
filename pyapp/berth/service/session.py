"""A caller as its worker sees it: its streams, its folder, and the programs that run for it."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from berth.engine.containers import Alive
from berth.engine.enter import Door, Program
from berth.engine.one_off import OneOff
from berth.errors import BerthError
from berth.kernel.namespaces import same_mount_namespace
from berth.kernel.processes import catches, ignores
from berth.kernel.signals import Wakeup
from berth.kernel.terminals import set_window_size, window_size
from berth.service.protocol import Connection

_GRACE_SECONDS = 5.0
_HARMLESS = (signal.SIGKILL, signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH)


class Session:
    """One request's caller.  Its standard streams are the worker's own 0, 1, 2."""

    def __init__(self, connection: Connection, cwd: str, environment: dict[str, str], pid: int) -> None:
        self.connection = connection
        self.cwd = cwd
        self.environment = environment
        self.pid = pid

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
        door = Door(container)
        try:
            if not self.has_terminal:
                pid = door.start(program, (0, 1, 2), None)
                self.connection.send({"program": True})
                return self.accompany(pid, group=False)
            master, slave = door.open_terminal()
            self._size_like_callers(master)
            streams = tuple(slave if os.isatty(number) else number for number in range(3))
            pid = door.start(program, (streams[0], streams[1], streams[2]), slave)
        finally:
            door.close()
        self.lend_terminal(master)
        os.close(slave)
        return self.accompany(pid, group=True)

    def run_one_off(self, one_off: OneOff) -> int:
        """Run a one-off container on the caller's streams and return its program's exit code."""
        process = one_off.start()
        try:
            if one_off.master is None or one_off.slave is None:
                self.connection.send({"program": True})
            else:
                self._size_like_callers(one_off.master)
                self.lend_terminal(one_off.master, first=process.pid)
                os.close(one_off.slave)
            return self.accompany(process.pid, group=False, first=True)
        finally:
            process.send(signal.SIGKILL)
            one_off.finish()

    @staticmethod
    def _size_like_callers(master: int) -> None:
        for number in range(3):
            if os.isatty(number):
                set_window_size(master, *window_size(number))
                return

    def lend_terminal(self, *descriptors: int, **words: Any) -> None:
        """Give the caller a terminal to copy bytes for, and keep none of it."""
        self.connection.send({"terminal": True, **words}, descriptors)
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

    def accompany(self, pid: int, *, group: bool, first: bool = False) -> int:
        """Wait for child `pid`, passing the caller's signals on; return its exit code.

        A caller that vanishes: SIGHUP, and SIGKILL after a while.  With `group` the program leads a process group; with
        `first` it is PID 1 of its container, where the kernel drops what it would die of: then it is killed.
        """
        send = _send_first if first else _send_group if group else _send
        killed_by: list[int] = []
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        timeout = None
        with Wakeup(signal.SIGCHLD) as news:
            poller.register(news, select.POLLIN)
            while (code := self._collect(pid)) is None:
                events = dict(poller.poll(timeout))
                news.clear()
                if not events and timeout is not None:
                    send(pid, signal.SIGKILL)
                    timeout = None
                if self.connection.fileno() in events and not self._pass_on(pid, send, killed_by):
                    poller.unregister(self.connection)
                    send(pid, signal.SIGHUP)
                    send(pid, signal.SIGCONT)
                    timeout = _GRACE_SECONDS * 1000
        return 128 + killed_by[0] if killed_by and code == 128 + signal.SIGKILL else code

    def _collect(self, pid: int) -> int | None:
        while True:
            found, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if found == 0:
                return None
            if found != pid:
                continue  # an orphan of the program, adopted by the subreaper
            if os.WIFSTOPPED(status):
                self.connection.send({"stopped": True})
                continue
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _pass_on(self, pid: int, send: Callable[[int, int], bool], killed_by: list[int]) -> bool:
        while True:
            try:
                message, _ = self.connection.receive()
            except ValueError:
                return False
            if message is None:
                return False
            number = message.get("signal")
            if isinstance(number, int) and not send(pid, number):
                killed_by.append(number)
            if not self.connection.pending:
                return True


def _send(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return True


def _send_group(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
    return True


def _send_first(pid: int, number: int) -> bool:
    """Send a signal to a PID 1 as if it were none; False when it had to be killed instead."""
    if number in _HARMLESS or catches(pid, number) or ignores(pid, number):
        return _send(pid, number)
    _send(pid, signal.SIGKILL)
    return False


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except FileNotFoundError:
        return not os.path.exists(one) and not os.path.exists(other)
