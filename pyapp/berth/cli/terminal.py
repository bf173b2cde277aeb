"""Copies bytes between the caller's terminal and a program's own one, so that both look like one terminal.

The caller's terminal is raw only while the program is in the foreground of its own.  In a pipeline
(`berth run x -- dmesg | less`) or in the background of a shell that is not before the program reads its terminal: the
kernel stops it then, as it would a local background job, and the worker tells.  sudo(8) does the same with `use_pty`.
"""

import _socket
import contextlib
import errno
import json
import os
import select
import signal
import termios

from berth.cli.relay import (
    FORWARDED,
    descriptors_in,
    let_go_of_streams,
    stop_job,
    tell_signal,
    tell_to_go_on,
    tell_typed,
)
from berth.kernel.signals import Wakeup
from berth.kernel.terminals import (
    Mode,
    go_raw,
    in_foreground,
    is_canonical,
    reopen,
    restore,
    set_window_size,
    window_size,
)

_DETACH = b"\x1d"  # Ctrl-]
_CHUNK = 65536
_MOST_TYPED = 65536  # what a program has not read yet; after that the keyboard waits
_LAST_READS = 64  # more than a terminal holds, and an end for what others go on writing
_HUNG_UP = 128 + signal.SIGHUP
_KEYS = (
    (termios.VINTR, signal.SIGINT),
    (termios.VQUIT, signal.SIGQUIT),
    (termios.VSUSP, signal.SIGTSTP),
)


class Copier:
    """One program's terminal, from the worker's `{"terminal": true}` on.

    Beside that came the program's terminal (or what speaks for a console) and, last, the one to tell the window's size.
    """

    def __init__(self, sock: _socket.socket, descriptors: list[int], line: bytes) -> None:
        lent = json.loads(line)
        self._sock = sock
        self._program, self._sizes = descriptors[0], descriptors[-1]
        self._is_console = bool(lent.get("detach"))
        self._speaker = _socket.socket(fileno=self._program) if self._is_console else None
        self._takes_at_once = bool(lent.get("foreground"))
        self._first: int | None = lent.get("first")
        terminals = [number for number in range(3) if os.isatty(number)]
        self._terminal = reopen(terminals[0]) if terminals else None
        self._screen = 1 if self._is_console or self._terminal is None else self._terminal
        self._before: Mode | None = None  # of the caller's terminal, while that is raw
        self._expects_lines = not self._is_console
        self._typed = b""
        self._speaks = True
        self._code: int | None = None
        self._detached = False

    def copy(self, received: bytes) -> int:
        """Copy until the worker tells the exit code; the caller's terminal is left as it was.

        `received` came behind the worker's line.  Raises ConnectionResetError when the worker is gone.
        """
        os.set_blocking(self._program, False)
        numbers = FORWARDED[:-1] if self._is_console else FORWARDED
        heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        with Wakeup(signal.SIGWINCH, signal.SIGCONT, *heeded) as news:
            if not self._is_console:
                let_go_of_streams()
            self._resize()
            try:
                if self._takes_at_once:
                    self._take_terminal()
                return self._pump(news, received)
            finally:
                self._give_terminal_back()
                if self._detached and os.isatty(2):
                    os.write(2, b"\nberth: detached from the console\n")

    def _pump(self, news: Wakeup, received: bytes) -> int:
        while True:
            received = self._heed(received, news)
            if self._code is not None:
                return self._code
            ready = self._wait(news)
            if news.fileno() in ready:
                news.clear()
                self._pass_on(news.arrived)
            if self._sock.fileno() in ready:
                got = self._sock.recv(_CHUNK)
                if not got:
                    raise ConnectionResetError(errno.ECONNRESET, "the worker is gone")
                received += got
            if self._terminal in ready and self._before is not None:
                self._read_keys()
            elif self._terminal in ready:
                self._consider_line()
            if self._program in ready:
                self._show()
            if self._typed:
                self._type()

    def _wait(self, news: Wakeup) -> set[int | None]:
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(news, select.POLLIN)
        if self._speaks:
            poller.register(self._program, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if self._terminal is not None and self._listens(self._terminal):
            poller.register(self._terminal, select.POLLIN)
        return {fd for fd, _ in poller.poll()}

    def _listens(self, terminal: int) -> bool:
        if self._before is not None:
            return len(self._typed) < _MOST_TYPED
        return self._expects_lines and in_foreground(terminal)

    def _heed(self, received: bytes, news: Wakeup) -> bytes:
        """Act on the worker's whole lines in `received` and return what is left over."""
        *lines, rest = received.split(b"\n")
        for message in map(json.loads, lines):
            if "stopped" in message:
                self._stop(message["stopped"], news)
            if "exit" in message:
                self._code = int(message["exit"])
                for _ in range(_LAST_READS):
                    if not self._show():
                        break
        return rest

    def _pass_on(self, arrived: set[int]) -> None:
        while arrived:
            number = arrived.pop()
            if number == signal.SIGWINCH:
                self._resize()
            elif number == signal.SIGCONT:
                self._go_on()
            elif number == signal.SIGHUP or self._is_console:
                self._code = 128 + number
            else:
                tell_signal(self._sock, number)

    def _go_on(self) -> None:
        """This process was stopped and goes on; a shell may have changed the terminal meanwhile."""
        if self._before is not None and self._terminal is not None and in_foreground(self._terminal):
            go_raw(self._terminal)
        elif self._takes_at_once:
            self._take_terminal()

    def _stop(self, number: int, news: Wakeup) -> None:
        """The program was stopped by signal `number`: stop as it has, and have it go on when this process does."""
        if self._terminal is None:
            return
        wants_terminal = number in (signal.SIGTTIN, signal.SIGTTOU) and self._before is None
        if not (wants_terminal and in_foreground(self._terminal)):
            self._give_terminal_back()
            stop_job(number if wants_terminal else signal.SIGTSTP)
            if wants_terminal and signal.SIGCONT not in news.arrived and not in_foreground(self._terminal):
                self._code = _HUNG_UP  # nobody could continue it: there is no terminal for it any more
                return
        self._take_terminal()
        tell_to_go_on(self._sock, foreground=self._before is not None)

    def _consider_line(self) -> None:
        """A line was typed while the program is in the background: it may be waiting in poll(2), which stops nobody.

        Where a neighbour in the pipeline has changed the mode, what is typed is the neighbour's.
        """
        assert self._terminal is not None
        self._expects_lines = False
        if is_canonical(self._terminal):
            self._take_terminal()
            tell_to_go_on(self._sock, foreground=True)

    def _take_terminal(self) -> None:
        """Make the caller's terminal the program's, if this process is in its foreground."""
        if self._terminal is not None and self._before is None and in_foreground(self._terminal):
            with contextlib.suppress(termios.error):  # hung up, which the next read tells
                self._before = go_raw(self._terminal)
            self._resize()

    def _give_terminal_back(self) -> None:
        if self._terminal is not None and self._before is not None:
            with contextlib.suppress(termios.error):
                restore(self._terminal, self._before)
            self._before = None

    def _resize(self) -> None:
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                set_window_size(self._sizes, *window_size(self._terminal))

    def _read_keys(self) -> None:
        assert self._terminal is not None
        try:
            typed = os.read(self._terminal, 4096)
        except BlockingIOError:
            return
        except OSError:
            typed = b""
        if not typed:
            self._code = _HUNG_UP  # a raw terminal has no other end
        if self._is_console and _DETACH in typed:
            typed, _, _ = typed.partition(_DETACH)
            self._code, self._detached = 0, True
        self._typed += typed
        if self._first is not None:
            self._tell_first(typed, self._first)

    def _tell_first(self, typed: bytes, first: int) -> None:
        """Tell the worker of keys that mean a signal, if that is for PID 1: the kernel drops what it would die of."""
        with contextlib.suppress(OSError, termios.error):
            _, _, _, local, _, _, characters = termios.tcgetattr(self._program)
            if local & termios.ISIG and os.tcgetpgrp(self._program) == first:
                for place, number in _KEYS:
                    if characters[place] != b"\0" and characters[place] in typed:
                        tell_typed(self._sock, number)

    def _type(self) -> None:
        try:
            self._typed = self._typed[os.write(self._program, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:
            self._typed = b""  # nobody will read it any more

    def _show(self) -> bool:
        """Copy what the program wrote to the screen; False when there was nothing."""
        try:
            got = self._listen() if self._speaker is not None else os.read(self._program, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            got = b""  # EIO is how a terminal's master tells its end
        self._speaks = bool(got)
        if self._before is None and os.isatty(self._screen):
            got = got.replace(b"\r\n", b"\n")  # a terminal that is not raw puts the CR there itself
        try:
            _write_all(self._screen, got)
        except OSError as error:
            self._code = 141 if error.errno == errno.EPIPE else _HUNG_UP
        return bool(got)

    def _listen(self) -> bytes:
        """Return what a console says; after a reboot it is another terminal, which comes beside."""
        assert self._speaker is not None
        got: bytes
        got, ancillary, _, _ = self._speaker.recvmsg(_CHUNK, 64)
        for renewed in descriptors_in(ancillary):
            os.close(self._sizes)
            self._sizes = renewed
            self._resize()
        return got


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
