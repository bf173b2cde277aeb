"""What the caller does while a program runs for it: passes signals on, stops with it, lends it its terminal.

Every `run` of the cold command imports this, so it does without signal and json: each costs as much as the interpreter.
"""

import _signal  # type: ignore[import-not-found]  # typeshed does not know what signal is made of
import _socket
import os
import sys

FORWARDED = (
    _signal.SIGINT,
    _signal.SIGTERM,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
    _signal.SIGTSTP,
)


class Relay:
    """What the caller does for a running program until the worker tells its exit code."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._descriptors: list[int] = []

    def take(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Keep the descriptors that came beside a line."""
        self._descriptors += descriptors_in(ancillary)

    def follow(self, line: bytes, rest: bytes) -> int | None:
        """Act on the worker's `line`, with `rest` behind it; return the exit code if it came meanwhile.

        Raises ConnectionResetError when the worker is gone.
        """
        if line.startswith(b'{"terminal"'):
            from berth.cli.terminal import Copier

            return Copier(self._sock, self._descriptors, line).copy(rest)
        if line.startswith(b'{"program"'):
            let_go_of_streams()
            for number in FORWARDED:
                if _signal.getsignal(number) is not _signal.SIG_IGN:
                    _signal.signal(number, lambda number, _: tell_signal(self._sock, number))
        elif line.startswith(b'{"stopped"'):
            stop_job(_signal.SIGTSTP)
            tell_to_go_on(self._sock, foreground=True)
        return None


def descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in what recvmsg(2) returned beside the data."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            whole = len(data) - len(data) % 4
            found += (int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, whole, 4))
    return found


def let_go_of_streams() -> None:
    """Close input and output unless they are a terminal: only the program decides when a pipe is at its end."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1):
        if not os.isatty(number):
            os.dup2(null, number)
    os.close(null)


def stop_job(number: int) -> None:
    """Stop the caller's whole job, as the kernel does for signal `number`; return when it is continued.

    Returns at once where no shell could continue it: the kernel stops no orphaned process group.
    """
    before = _signal.signal(number, _signal.SIG_DFL)
    os.kill(0, number)
    _signal.signal(number, before)


def tell_signal(sock: _socket.socket, number: int) -> None:
    """Have the worker send signal `number` to the program."""
    _tell(sock, f'{{"signal":{number:d}}}')


def tell_typed(sock: _socket.socket, number: int) -> None:
    """Tell the worker of a key that means signal `number`, which the kernel does not deliver to a PID 1."""
    _tell(sock, f'{{"typed":{number:d}}}')


def tell_to_go_on(sock: _socket.socket, *, foreground: bool) -> None:
    """Have the worker continue the program; in the foreground it may read and set its terminal."""
    _tell(sock, f'{{"signal":{_signal.SIGCONT:d},"foreground":{"true" if foreground else "false"}}}')


def _tell(sock: _socket.socket, line: str) -> None:
    try:
        sock.send(line.encode() + b"\n")
    except OSError:
        pass  # the worker is gone, which the next read tells
