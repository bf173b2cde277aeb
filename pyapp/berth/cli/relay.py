"""Copies bytes between the caller's terminal and a program's, and passes signals on while a program runs."""

import _socket
import array
import contextlib
import errno
import json
import os
import select
import signal
import socket
import termios

from berth.kernel.terminals import Mode, go_raw, restore, set_window_size, window_size

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_DETACH = b"\x1d"  # Ctrl-]
_CHUNK = 65536
_DRAIN_MILLISECONDS = 100


class Relay:
    """What the caller does for a running program until the worker tells its exit code."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._descriptors: list[int] = []
        self._mode: Mode | None = None
        self._first: int | None = None

    def take(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Keep the descriptors that came beside a line."""
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors += array.array("i", data[: len(data) - len(data) % 4])

    def follow(self, line: bytes, rest: bytes) -> int | None:
        """Act on the worker's `line`, and stay until the exit code comes; None when it has not come yet."""
        message = json.loads(line)
        if "terminal" in message:
            self._first = message.get("first")
            return self._copy(rest, detachable=bool(message.get("detach")))
        if "program" in message:
            self._forward_signals()
        return None

    def _forward_signals(self) -> None:
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: self._tell(signal=number))

    def _tell(self, **message: int) -> None:
        with contextlib.suppress(OSError):
            self._sock.send(json.dumps(message).encode() + b"\n")

    def _copy(self, buffer: bytes, *, detachable: bool) -> int:
        """Copy until the worker tells the exit code; always leaves the caller's terminal as it was."""
        data, sizes = self._descriptors[0], self._descriptors[-1]
        os.set_blocking(data, False)
        wakeup, waker = socket.socketpair()
        for end in (wakeup, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self._forward_signals()
        signal.signal(signal.SIGWINCH, lambda *_: self._resize(sizes))
        self._resize(sizes)
        poller = select.poll()
        self._enter_raw()
        try:
            return self._pump(poller, data, waker, buffer, detachable=detachable)
        finally:
            self._leave_raw()

    def _pump(
        self, poller: select.poll, data: int, waker: socket.socket, buffer: bytes, *, detachable: bool
    ) -> int:
        conn = self._sock.fileno()
        typed = b""
        reads_input = os.isatty(0)
        for fd in (data, conn, waker.fileno()):
            poller.register(fd, select.POLLIN)
        if reads_input:
            poller.register(0, select.POLLIN)
        open_data = True
        while True:
            code, buffer = self._heed(buffer)
            if code is not None:
                self._drain(data)
                return code
            if open_data:
                poller.modify(data, select.POLLIN | (select.POLLOUT if typed else 0))
            for fd, _ in poller.poll():
                if fd == waker.fileno():
                    waker.recv(4096)
                elif fd == conn:
                    got = self._sock.recv(_CHUNK)
                    if not got:
                        return 1
                    buffer += got
                elif fd == 0:
                    got = os.read(0, 4096)
                    if detachable and _DETACH in got:
                        return 0
                    if not got:
                        poller.unregister(0)
                    typed += got
                    self._interrupt_first(data, got)
                elif open_data and not self._out(data):
                    poller.unregister(data)
                    open_data = False
            if typed and open_data:
                with contextlib.suppress(BlockingIOError):
                    typed = typed[os.write(data, typed) :]

    def _interrupt_first(self, data: int, typed: bytes) -> None:
        """Tell the worker of an interrupt typed for a program that is PID 1: the kernel drops the terminal's signal."""
        if self._first is None or os.tcgetpgrp(data) != self._first:
            return
        _, _, _, local, _, _, characters = termios.tcgetattr(data)
        if local & termios.ISIG:
            for place, number in ((termios.VINTR, signal.SIGINT), (termios.VQUIT, signal.SIGQUIT)):
                if characters[place] in typed:
                    self._tell(signal=number)

    def _heed(self, buffer: bytes) -> tuple[int | None, bytes]:
        """Act on the whole lines in `buffer`; return the exit code if it came, and what is left over."""
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            message = json.loads(line)
            if "exit" in message:
                return int(message["exit"]), buffer
            if "stopped" in message:
                self._suspend()
        return None, buffer

    def _out(self, data: int) -> bool:
        """Copy what the program wrote; False at its end (EIO is how a terminal's master says that)."""
        try:
            got = os.read(data, _CHUNK)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno == errno.EIO:
                return False
            raise
        _write_all(1 if os.isatty(1) else 2, got)
        return bool(got)

    def _drain(self, data: int) -> None:
        poller = select.poll()
        poller.register(data, select.POLLIN)
        while poller.poll(0) and self._out(data):
            pass

    def _suspend(self) -> None:
        """Stop as the program has stopped, with the terminal as the shell expects it; go on with it afterwards."""
        self._leave_raw()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter_raw()
        self._tell(signal=signal.SIGCONT)

    def _enter_raw(self) -> None:
        if os.isatty(0):
            self._mode = go_raw(0)

    def _leave_raw(self) -> None:
        if self._mode is not None:
            restore(0, self._mode)
            self._mode = None

    @staticmethod
    def _resize(master: int) -> None:
        for number in range(3):
            if os.isatty(number):
                with contextlib.suppress(OSError):
                    set_window_size(master, *window_size(number))
                return


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
